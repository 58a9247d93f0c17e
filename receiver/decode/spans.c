/* Export requests of traces to Arrow buffers: one pass over the bytes of a request, JSON columns included.
 *
 * It reads what every SDK and Collector sends and refuses the rest, with the answer `UNUSUAL`: bytes that are not
 * protobuf, text that is not UTF-8, a key that comes twice in one list, a message split over several fields, a field it
 * does not know, values nested deeper than MAX_DEPTH, doubles whose shortest spelling it cannot prove. The caller then
 * asks protobuf, in Python. So it need not be complete, only exact about what it accepts: the same text, to the byte, as
 * `receiver.decode.arrow` gives. No read leaves the request: every length is compared with what is left before it is used.
 *
 * Plain C without Python.h, called through ctypes, which lets go of the interpreter's lock meanwhile.
 */

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 24
#define MAX_INLINE_BYTES 4096     /* as in receiver.decode.shared */
#define MAX_NAME_BYTES 1024
#define MAX_EXPANDED_BYTES (512 << 20)
#define MAX_KEYS 1024
#define MAX_NS INT64_MAX

enum { DONE = 0, UNUSUAL = 1, NO_MEMORY = 2 };

/* Columns, in the order of receiver.native. */
enum {
    TRACE_ID, SPAN_ID, PARENT_SPAN_ID, TRACE_STATE, NAME, KIND, STATUS_CODE, STATUS_MESSAGE, SERVICE_NAME, RESOURCE,
    RESOURCE_SCHEMA_URL, SCOPE_NAME, SCOPE_VERSION, SCOPE_ATTRIBUTES, SCOPE_SCHEMA_URL, ATTRIBUTES, EVENTS, LINKS,
    NUM_TEXTS
};
enum { START_TIME, END_TIME, START_NS, END_NS, NUM_LONGS };
enum {
    FLAGS, DROPPED_ATTRIBUTES, DROPPED_EVENTS, DROPPED_LINKS, RESOURCE_DROPPED_ATTRIBUTES, SCOPE_DROPPED_ATTRIBUTES,
    NUM_INTS
};

typedef struct {
    char *bytes;
    int64_t size;
    int64_t capacity;
} Text;

typedef struct {
    int32_t *offsets;
    uint8_t *validity;
    int64_t num_nulls;
    Text text;
} TextColumn;

/* What the caller gets. Mirrored by receiver.native.Batch. */
typedef struct {
    int64_t num_rows;
    int64_t num_items;
    int64_t num_rejected;
    int64_t looks_like_logs;
    int64_t capacity;
    TextColumn texts[NUM_TEXTS];
    int64_t *longs[NUM_LONGS];
    uint32_t *ints[NUM_INTS];
} Batch;

typedef struct {
    const uint8_t *at;
    const uint8_t *end;
} Bytes;

typedef struct {
    uint32_t number;
    uint32_t wire_type;
    uint64_t number_value; /* of a varint or a fixed number */
    Bytes bytes;           /* of a delimited field */
} Field;

enum { VARINT = 0, FIXED64 = 1, DELIMITED = 2, FIXED32 = 5 };

#define TRY(call)                      \
    do {                               \
        int status_ = (call);          \
        if (status_ != DONE) return status_; \
    } while (0)

#define EXPECT(condition)              \
    do {                               \
        if (!(condition)) return UNUSUAL; \
    } while (0)

/* --- the wire */

static int read_varint(Bytes *from, uint64_t *value, int max_bytes) {
    uint64_t result = 0;
    for (int shift = 0; shift < 7 * max_bytes; shift += 7) {
        EXPECT(from->at < from->end);
        uint8_t byte = *from->at++;
        EXPECT(shift < 63 || byte <= 1);
        result |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *value = result;
            return DONE;
        }
    }
    return UNUSUAL;
}

static int read_field(Bytes *from, Field *field) {
    uint64_t tag, length;
    TRY(read_varint(from, &tag, 5));
    EXPECT(tag <= UINT32_MAX);
    field->number = (uint32_t)(tag >> 3);
    field->wire_type = (uint32_t)(tag & 7);
    size_t left = (size_t)(from->end - from->at);
    switch (field->wire_type) {
        case VARINT:
            return read_varint(from, &field->number_value, 10);
        case FIXED64:
            EXPECT(left >= 8);
            memcpy(&field->number_value, from->at, 8); /* protobuf and every machine we run on are little endian */
            from->at += 8;
            return DONE;
        case FIXED32: {
            uint32_t value;
            EXPECT(left >= 4);
            memcpy(&value, from->at, 4);
            field->number_value = value;
            from->at += 4;
            return DONE;
        }
        case DELIMITED:
            TRY(read_varint(from, &length, 5));
            EXPECT(length <= (uint64_t)(from->end - from->at));
            field->bytes.at = from->at;
            from->at += length;
            field->bytes.end = from->at;
            return DONE;
        default:
            return UNUSUAL;
    }
}

static const uint64_t ONES = 0x0101010101010101ull, TOPS = 0x8080808080808080ull;

/* How many bytes the character at `at` takes in well-formed UTF-8 as Unicode defines it (table 3-7: no overlong forms,
 * no surrogates, nothing beyond U+10FFFF); 0 where it is none. */
static int utf8_size(const uint8_t *at, const uint8_t *end) {
    uint8_t lead = *at, low = 0x80, high = 0xbf;
    int size;
    if (lead < 0x80) return 1;
    if (lead >= 0xc2 && lead <= 0xdf) size = 2;
    else if (lead >= 0xe0 && lead <= 0xef) {
        size = 3;
        if (lead == 0xe0) low = 0xa0;
        if (lead == 0xed) high = 0x9f;
    } else if (lead >= 0xf0 && lead <= 0xf4) {
        size = 4;
        if (lead == 0xf0) low = 0x90;
        if (lead == 0xf4) high = 0x8f;
    } else return 0;
    if (end - at < size || at[1] < low || at[1] > high) return 0;
    for (int index = 2; index < size; index++)
        if ((at[index] & 0xc0) != 0x80) return 0;
    return size;
}

static int is_utf8(const uint8_t *at, const uint8_t *end) {
    while (at < end) {
        uint64_t word;
        int size = 8;
        if (end - at >= 8) memcpy(&word, at, 8);
        if (end - at < 8 || word & TOPS) size = utf8_size(at, end);
        if (!size) return 0;
        at += size;
    }
    return 1;
}

static int expect_text(Bytes bytes) { return is_utf8(bytes.at, bytes.end) ? DONE : UNUSUAL; }

static int64_t size_of(Bytes bytes) { return bytes.end - bytes.at; }

/* --- text being written */

static int grow(Text *text, int64_t more) {
    int64_t capacity = (text->capacity ? text->capacity * 2 : 4096);
    while (capacity < text->size + more) capacity *= 2;
    char *bytes = realloc(text->bytes, (size_t)capacity);
    if (!bytes) return NO_MEMORY;
    text->bytes = bytes;
    text->capacity = capacity;
    return DONE;
}

static inline int reserve(Text *text, int64_t more) {
    return text->size + more <= text->capacity ? DONE : grow(text, more);
}

static inline int put(Text *text, const void *bytes, int64_t size) {
    TRY(reserve(text, size));
    if (size) memcpy(text->bytes + text->size, bytes, (size_t)size);
    text->size += size;
    return DONE;
}

#define PUT(text, literal) put(text, literal, sizeof(literal) - 1)

static int put_hex(Text *text, Bytes bytes) {
    static const char digits[] = "0123456789abcdef";
    TRY(reserve(text, 2 * size_of(bytes)));
    char *to = text->bytes + text->size;
    for (const uint8_t *at = bytes.at; at < bytes.end; at++) {
        *to++ = digits[*at >> 4];
        *to++ = digits[*at & 15];
    }
    text->size += 2 * size_of(bytes);
    return DONE;
}

static int put_integer(Text *text, uint64_t magnitude, int is_negative) {
    char digits[24];
    int at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + magnitude % 10);
        magnitude /= 10;
    } while (magnitude);
    if (is_negative) digits[--at] = '-';
    return put(text, digits + at, (int64_t)sizeof(digits) - at);
}

static int put_unsigned(Text *text, uint64_t value) { return put_integer(text, value, 0); }

static int put_signed(Text *text, int64_t value) {
    return value < 0 ? put_integer(text, 0 - (uint64_t)value, 1) : put_integer(text, (uint64_t)value, 0);
}

/* The shortest decimal that reads back as the same double, spelled as orjson spells it. */
static int put_double(Text *text, double value) {
    if (isnan(value)) return PUT(text, "{\"$double\":\"NaN\"}");
    if (isinf(value))
        return value > 0 ? PUT(text, "{\"$double\":\"Infinity\"}") : PUT(text, "{\"$double\":\"-Infinity\"}");
    if (value == 0) return signbit(value) ? PUT(text, "-0.0") : PUT(text, "0.0");
    if (fabs(value) < 1e15 && value == (double)(int64_t)value) {
        TRY(put_signed(text, (int64_t)value));
        return PUT(text, ".0");
    }
    EXPECT(isnormal(value)); /* subnormals have fewer digits than the loop below starts with */
    char spelled[40];
    int precision = 14;
    for (; precision <= 16; precision++) {
        snprintf(spelled, sizeof(spelled), "%.*e", precision, value);
        if (strtod(spelled, NULL) == value) break;
    }
    int binary_exponent;
    /* At a power of two the neighbours below are nearer: a shorter spelling may exist that is not the nearest one. */
    EXPECT(precision == 14 || fabs(frexp(value, &binary_exponent)) != 0.5);
    EXPECT(precision <= 16);
    const char *at = spelled;
    char digits[24];
    int num_digits = 0;
    int is_negative = *at == '-';
    if (is_negative) at++;
    for (; *at && *at != 'e'; at++) {
        if (*at >= '0' && *at <= '9') digits[num_digits++] = *at;
        else EXPECT(*at == '.'); /* a locale with another decimal point */
    }
    EXPECT(*at == 'e');
    int exponent = atoi(at + 1);
    while (num_digits > 1 && digits[num_digits - 1] == '0') num_digits--;
    if (is_negative) TRY(PUT(text, "-"));
    if (exponent >= 0 && exponent < 16) { /* 123.45, 1200.0 */
        for (int index = 0; index <= exponent; index++) TRY(put(text, index < num_digits ? &digits[index] : "0", 1));
        TRY(PUT(text, "."));
        if (num_digits <= exponent + 1) return PUT(text, "0");
        return put(text, digits + exponent + 1, num_digits - exponent - 1);
    }
    if (exponent < 0 && exponent >= -5) { /* 0.00012 */
        TRY(PUT(text, "0."));
        for (int index = -1; index > exponent; index--) TRY(PUT(text, "0"));
        return put(text, digits, num_digits);
    }
    TRY(put(text, digits, 1));
    if (num_digits > 1) {
        TRY(PUT(text, "."));
        TRY(put(text, digits + 1, num_digits - 1));
    }
    TRY(exponent < 0 ? PUT(text, "e-") : PUT(text, "e+"));
    return put_unsigned(text, (uint64_t)abs(exponent));
}

/* The letter behind the backslash, for the bytes that JSON escapes so. */
static const char short_escape[256] = {
    ['"'] = '"', ['\\'] = '\\', ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r',
};

#define LONGEST_ESCAPE 6
#define WORD 8

/* Write a byte below 0x80 as JSON wants it inside a string, and return where the next one goes. */
static inline char *write_ascii(char *to, uint8_t byte) {
    static const char digits[] = "0123456789abcdef";
    if (short_escape[byte]) {
        *to++ = '\\';
        *to++ = short_escape[byte];
    } else if (byte < 0x20) {
        memcpy(to, "\\u00", 4);
        to[4] = digits[byte >> 4];
        to[5] = digits[byte & 15];
        to += 6;
    } else *to++ = (char)byte;
    return to;
}

/* Tell where in a word the first byte is that is not ASCII or that JSON escapes: its top bit is the lowest one set. */
static inline uint64_t find_special(uint64_t word) {
    uint64_t quote = word ^ (ONES * '"'), slash = word ^ (ONES * '\\');
    return (word | ((word - ONES * 0x20) & ~word) | ((quote - ONES) & ~quote) | ((slash - ONES) & ~slash)) & TOPS;
}

static int put_string(Text *text, Bytes bytes) {
    const uint8_t *at = bytes.at;
    /* Always room for what is left as it is, one escape, the closing quote, and a whole word behind them. */
    TRY(reserve(text, size_of(bytes) + LONGEST_ESCAPE + WORD + 2));
    char *to = text->bytes + text->size;
    *to++ = '"';
    while (at < bytes.end) {
        if (bytes.end - at >= WORD) {
            uint64_t word, special;
            memcpy(&word, at, WORD);
            memcpy(to, &word, WORD);
            special = find_special(word);
            int num_plain = special ? __builtin_ctzll(special) >> 3 : WORD;
            at += num_plain;
            to += num_plain;
            if (!special) continue;
        }
        if (*at < 0x80) {
            to = write_ascii(to, *at++);
            text->size = to - text->bytes;
            TRY(reserve(text, bytes.end - at + LONGEST_ESCAPE + WORD + 2));
            to = text->bytes + text->size;
        } else {
            int size = utf8_size(at, bytes.end);
            EXPECT(size);
            memcpy(to, at, (size_t)size);
            at += size;
            to += size;
        }
    }
    *to++ = '"';
    text->size = to - text->bytes;
    return DONE;
}

static int put_base64(Text *text, Bytes bytes) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    TRY(reserve(text, size_of(bytes) / 3 * 4 + 4));
    char *to = text->bytes + text->size;
    const uint8_t *at = bytes.at;
    for (; bytes.end - at >= 3; at += 3) {
        uint32_t three = (uint32_t)at[0] << 16 | (uint32_t)at[1] << 8 | at[2];
        *to++ = letters[three >> 18];
        *to++ = letters[three >> 12 & 63];
        *to++ = letters[three >> 6 & 63];
        *to++ = letters[three & 63];
    }
    if (bytes.end - at == 1) {
        *to++ = letters[at[0] >> 2];
        *to++ = letters[(at[0] & 3) << 4];
        *to++ = '=';
        *to++ = '=';
    } else if (bytes.end - at == 2) {
        *to++ = letters[at[0] >> 2];
        *to++ = letters[(at[0] & 3) << 4 | at[1] >> 4];
        *to++ = letters[(at[1] & 15) << 2];
        *to++ = '=';
    }
    text->size = to - text->bytes;
    return DONE;
}

/* --- values */

/* The keys of one list so far. A bit per hash tells most keys new without a comparison. */
typedef struct {
    uint64_t seen[64];
    Bytes keys[MAX_KEYS];
    int num_keys;
} Keys;

static int expect_new_key(Keys *keys, Bytes key) {
    EXPECT(keys->num_keys < MAX_KEYS);
    int64_t size = size_of(key), part = size < WORD ? size : WORD;
    uint64_t first = 0, last = 0; /* its first and its last bytes, which overlap in a short one */
    memcpy(&first, key.at, (size_t)part);
    memcpy(&last, key.end - part, (size_t)part);
    uint64_t hash = (first ^ (uint64_t)size) * 0x9e3779b97f4a7c15ull ^ last * 0xc2b2ae3d27d4eb4full;
    uint32_t bit = (uint32_t)(hash >> 52);
    if (keys->seen[bit >> 6] >> (bit & 63) & 1)
        for (int index = 0; index < keys->num_keys; index++)
            EXPECT(size_of(keys->keys[index]) != size || memcmp(keys->keys[index].at, key.at, (size_t)size) != 0);
    keys->seen[bit >> 6] |= 1ull << (bit & 63);
    keys->keys[keys->num_keys++] = key;
    return DONE;
}

static int put_value(Text *text, Bytes value, int depth);

/* Add one KeyValue to a JSON object being written. */
static int put_pair(Text *text, Keys *keys, Bytes pair, int depth) {
    Bytes key = {pair.at, pair.at}, value = {pair.at, pair.at};
    int num_keys = 0, num_values = 0;
    while (pair.at < pair.end) {
        Field field;
        TRY(read_field(&pair, &field));
        EXPECT(field.wire_type == DELIMITED);
        if (field.number == 1) {
            EXPECT(++num_keys == 1);
            key = field.bytes;
        } else if (field.number == 2) {
            EXPECT(++num_values == 1);
            value = field.bytes;
        } else return UNUSUAL;
    }
    TRY(expect_new_key(keys, key));
    if (keys->num_keys > 1) TRY(PUT(text, ","));
    TRY(put_string(text, key));
    TRY(PUT(text, ":"));
    return put_value(text, value, depth);
}

static int put_list(Text *text, Bytes list, int depth, int is_object) {
    Keys *keys = NULL;
    int num_items = 0, status = DONE;
    if (is_object) {
        keys = malloc(sizeof(Keys));
        if (!keys) return NO_MEMORY;
        memset(keys->seen, 0, sizeof(keys->seen));
        keys->num_keys = 0;
    }
    status = is_object ? PUT(text, "{") : PUT(text, "[");
    while (status == DONE && list.at < list.end) {
        Field field;
        status = read_field(&list, &field);
        if (status != DONE) break;
        if (field.number != 1 || field.wire_type != DELIMITED) {
            status = UNUSUAL;
        } else if (is_object) {
            status = put_pair(text, keys, field.bytes, depth);
        } else {
            if (num_items++) status = PUT(text, ",");
            if (status == DONE) status = put_value(text, field.bytes, depth);
        }
    }
    free(keys);
    TRY(status);
    return is_object ? PUT(text, "}") : PUT(text, "]");
}

/* Write one AnyValue. */
static int put_value(Text *text, Bytes value, int depth) {
    Field field;
    EXPECT(depth <= MAX_DEPTH);
    if (value.at == value.end) return PUT(text, "null");
    TRY(read_field(&value, &field));
    EXPECT(value.at == value.end);
    switch (field.number << 3 | field.wire_type) {
        case 1 << 3 | DELIMITED:
            return put_string(text, field.bytes);
        case 2 << 3 | VARINT:
            return field.number_value ? PUT(text, "true") : PUT(text, "false");
        case 3 << 3 | VARINT:
            return put_signed(text, (int64_t)field.number_value);
        case 4 << 3 | FIXED64: {
            double number;
            memcpy(&number, &field.number_value, 8);
            return put_double(text, number);
        }
        case 5 << 3 | DELIMITED:
            return put_list(text, field.bytes, depth + 1, 0);
        case 6 << 3 | DELIMITED:
            return put_list(text, field.bytes, depth + 1, 1);
        case 7 << 3 | DELIMITED:
            TRY(PUT(text, "{\"$bytes\":\""));
            TRY(put_base64(text, field.bytes));
            return PUT(text, "\"}");
        default:
            return UNUSUAL;
    }
}

/* The attributes of a message as a JSON object; `number` is their field in it. `service` gets service.name, a string. */
static int put_attributes(Text *text, Bytes message, uint32_t number, Keys *keys, Bytes *service) {
    if (keys->num_keys) memset(keys->seen, 0, sizeof(keys->seen));
    keys->num_keys = 0;
    TRY(PUT(text, "{"));
    while (message.at < message.end) {
        Field field;
        TRY(read_field(&message, &field));
        if (field.number != number) continue;
        EXPECT(field.wire_type == DELIMITED);
        TRY(put_pair(text, keys, field.bytes, 1));
        if (service && size_of(keys->keys[keys->num_keys - 1]) == 12 &&
            memcmp(keys->keys[keys->num_keys - 1].at, "service.name", 12) == 0) {
            Bytes pair = field.bytes;
            while (pair.at < pair.end) {
                Field part, value;
                TRY(read_field(&pair, &part));
                if (part.number != 2 || part.bytes.at == part.bytes.end) continue;
                TRY(read_field(&part.bytes, &value));
                if (value.number == 1) *service = value.bytes;
            }
        }
    }
    return PUT(text, "}");
}

/* --- rows */

static int end_row(Batch *batch, int column) {
    TextColumn *to = &batch->texts[column];
    EXPECT(to->text.size <= INT32_MAX);
    to->offsets[batch->num_rows + 1] = (int32_t)to->text.size;
    to->validity[batch->num_rows >> 3] |= (uint8_t)(1u << (batch->num_rows & 7));
    return DONE;
}

static int end_null(Batch *batch, int column) {
    TextColumn *to = &batch->texts[column];
    to->offsets[batch->num_rows + 1] = (int32_t)to->text.size;
    to->num_nulls++;
    return DONE;
}

static int is_shared(int column) { return column >= SERVICE_NAME && column <= SCOPE_SCHEMA_URL; }

/* What the rows of a scope share is written into each of them, while that stays small. */
static int row_of(Batch *batch, int column, Bytes bytes, int is_null) {
    if (is_null) return end_null(batch, column);
    if (is_shared(column)) EXPECT(batch->texts[column].text.size <= MAX_EXPANDED_BYTES);
    TRY(put(&batch->texts[column].text, bytes.at, size_of(bytes)));
    return end_row(batch, column);
}

static int row_or_null(Batch *batch, int column, Bytes bytes) {
    return row_of(batch, column, bytes, bytes.at == bytes.end);
}

static int has_any(Bytes bytes) {
    for (; bytes.at < bytes.end; bytes.at++)
        if (*bytes.at) return 1;
    return 0;
}

static Bytes literal(const char *text) {
    Bytes bytes = {(const uint8_t *)text, (const uint8_t *)text + strlen(text)};
    return bytes;
}

/* What the spans of one scope share. */
typedef struct {
    Bytes resource, resource_schema_url, service_name, scope_name, scope_version, scope_attributes, scope_schema_url;
    int has_service_name, has_scope_attributes;
    uint32_t resource_dropped, scope_dropped;
} Shared;

typedef struct {
    Bytes trace_id, span_id, parent_span_id, trace_state, name, status_message;
    uint64_t start_ns, end_ns;
    uint32_t flags, kind, status_code, dropped_attributes, dropped_events, dropped_links;
    int num_events, num_links;
} Span;

static int read_status(Bytes status, Span *span) {
    while (status.at < status.end) {
        Field field;
        TRY(read_field(&status, &field));
        if (field.number == 2 && field.wire_type == DELIMITED) {
            TRY(expect_text(field.bytes));
            span->status_message = field.bytes;
        } else if (field.number == 3 && field.wire_type == VARINT) {
            span->status_code = (uint32_t)field.number_value;
        } else return UNUSUAL;
    }
    return DONE;
}

static int read_span(Bytes bytes, Span *span) {
    int num_statuses = 0;
    memset(span, 0, sizeof(*span));
    while (bytes.at < bytes.end) {
        Field field;
        TRY(read_field(&bytes, &field));
        switch (field.number << 3 | field.wire_type) {
            case 1 << 3 | DELIMITED: span->trace_id = field.bytes; break;
            case 2 << 3 | DELIMITED: span->span_id = field.bytes; break;
            case 3 << 3 | DELIMITED: TRY(expect_text(field.bytes)); span->trace_state = field.bytes; break;
            case 4 << 3 | DELIMITED: span->parent_span_id = field.bytes; break;
            case 5 << 3 | DELIMITED: TRY(expect_text(field.bytes)); span->name = field.bytes; break;
            case 6 << 3 | VARINT: span->kind = (uint32_t)field.number_value; break;
            case 7 << 3 | FIXED64: span->start_ns = field.number_value; break;
            case 8 << 3 | FIXED64: span->end_ns = field.number_value; break;
            case 9 << 3 | DELIMITED: break; /* attributes */
            case 10 << 3 | VARINT: span->dropped_attributes = (uint32_t)field.number_value; break;
            case 11 << 3 | DELIMITED: span->num_events++; break;
            case 12 << 3 | VARINT: span->dropped_events = (uint32_t)field.number_value; break;
            case 13 << 3 | DELIMITED: span->num_links++; break;
            case 14 << 3 | VARINT: span->dropped_links = (uint32_t)field.number_value; break;
            case 15 << 3 | DELIMITED:
                EXPECT(++num_statuses == 1);
                TRY(read_status(field.bytes, span));
                break;
            case 16 << 3 | FIXED32: span->flags = (uint32_t)field.number_value; break;
            default: return UNUSUAL;
        }
    }
    return DONE;
}

static int put_event(Text *text, Bytes event, Keys *keys) {
    Bytes name = {event.at, event.at};
    uint64_t time_ns = 0;
    uint32_t dropped = 0;
    for (Bytes rest = event; rest.at < rest.end;) {
        Field field;
        TRY(read_field(&rest, &field));
        switch (field.number << 3 | field.wire_type) {
            case 1 << 3 | FIXED64: time_ns = field.number_value; break;
            case 2 << 3 | DELIMITED: name = field.bytes; TRY(expect_text(name)); break;
            case 3 << 3 | DELIMITED: break;
            case 4 << 3 | VARINT: dropped = (uint32_t)field.number_value; break;
            default: return UNUSUAL;
        }
    }
    TRY(PUT(text, "{\"name\":"));
    TRY(put_string(text, name));
    TRY(PUT(text, ",\"time_ns\":"));
    TRY(put_unsigned(text, time_ns));
    TRY(PUT(text, ",\"attributes\":"));
    TRY(put_attributes(text, event, 3, keys, NULL));
    TRY(PUT(text, ",\"dropped_attributes_count\":"));
    TRY(put_unsigned(text, dropped));
    return PUT(text, "}");
}

static int put_link(Text *text, Bytes link, Keys *keys) {
    Bytes trace_id = {link.at, link.at}, span_id = trace_id, trace_state = trace_id;
    uint32_t dropped = 0, flags = 0;
    for (Bytes rest = link; rest.at < rest.end;) {
        Field field;
        TRY(read_field(&rest, &field));
        switch (field.number << 3 | field.wire_type) {
            case 1 << 3 | DELIMITED: trace_id = field.bytes; break;
            case 2 << 3 | DELIMITED: span_id = field.bytes; break;
            case 3 << 3 | DELIMITED: trace_state = field.bytes; TRY(expect_text(trace_state)); break;
            case 4 << 3 | DELIMITED: break;
            case 5 << 3 | VARINT: dropped = (uint32_t)field.number_value; break;
            case 6 << 3 | FIXED32: flags = (uint32_t)field.number_value; break;
            default: return UNUSUAL;
        }
    }
    TRY(PUT(text, "{\"trace_id\":\""));
    TRY(put_hex(text, trace_id));
    TRY(PUT(text, "\",\"span_id\":\""));
    TRY(put_hex(text, span_id));
    TRY(PUT(text, "\",\"trace_state\":"));
    TRY(trace_state.at == trace_state.end ? PUT(text, "null") : put_string(text, trace_state));
    TRY(PUT(text, ",\"flags\":"));
    TRY(put_unsigned(text, flags));
    TRY(PUT(text, ",\"attributes\":"));
    TRY(put_attributes(text, link, 4, keys, NULL));
    TRY(PUT(text, ",\"dropped_attributes_count\":"));
    TRY(put_unsigned(text, dropped));
    return PUT(text, "}");
}

static int put_each(
    Text *text, Bytes span, uint32_t number, Keys *keys, int (*put_one)(Text *, Bytes, Keys *)
) {
    int num_items = 0;
    TRY(PUT(text, "["));
    while (span.at < span.end) {
        Field field;
        TRY(read_field(&span, &field));
        if (field.number != number) continue;
        if (num_items++) TRY(PUT(text, ","));
        TRY(put_one(text, field.bytes, keys));
    }
    return PUT(text, "]");
}

static int put_hex_row(Batch *batch, int column, Bytes id) {
    if (!has_any(id)) return end_null(batch, column);
    TRY(put_hex(&batch->texts[column].text, id));
    return end_row(batch, column);
}

static int add_span(Batch *batch, Bytes bytes, const Shared *shared, Keys *keys) {
    static const char *kinds[] = {"unspecified", "internal", "server", "client", "producer", "consumer"};
    static const char *codes[] = {"unset", "ok", "error"};
    Span span;
    TRY(read_span(bytes, &span));
    batch->num_items++;
    int is_usable = size_of(span.trace_id) == 16 && size_of(span.span_id) == 8 && has_any(span.trace_id) &&
                    has_any(span.span_id) && span.start_ns <= (uint64_t)MAX_NS && span.end_ns <= (uint64_t)MAX_NS;
    EXPECT(batch->num_rows < batch->capacity);
    Text *attributes = &batch->texts[ATTRIBUTES].text, *events = &batch->texts[EVENTS].text;
    Text *links = &batch->texts[LINKS].text;
    int64_t before[] = {attributes->size, events->size, links->size};
    TRY(put_attributes(attributes, bytes, 9, keys, NULL));
    TRY(span.num_events ? put_each(events, bytes, 11, keys, put_event) : PUT(events, "[]"));
    TRY(span.num_links ? put_each(links, bytes, 13, keys, put_link) : PUT(links, "[]"));
    if (!is_usable) { /* read to the end all the same, so that it is known to be well-formed */
        batch->num_rejected++;
        batch->looks_like_logs |= size_of(span.trace_id) == 0 && size_of(span.name) > 0 && *span.name.at == '\n';
        attributes->size = before[0], events->size = before[1], links->size = before[2];
        return DONE;
    }
    TRY(end_row(batch, ATTRIBUTES));
    TRY(end_row(batch, EVENTS));
    TRY(end_row(batch, LINKS));
    TRY(put_hex_row(batch, TRACE_ID, span.trace_id));
    TRY(put_hex_row(batch, SPAN_ID, span.span_id));
    TRY(put_hex_row(batch, PARENT_SPAN_ID, span.parent_span_id));
    TRY(row_or_null(batch, TRACE_STATE, span.trace_state));
    TRY(row_of(batch, NAME, span.name, 0));
    TRY(row_of(batch, KIND, literal(kinds[span.kind < 6 ? span.kind : 0]), 0));
    TRY(row_of(batch, STATUS_CODE, literal(codes[span.status_code < 3 ? span.status_code : 0]), 0));
    TRY(row_or_null(batch, STATUS_MESSAGE, span.status_message));
    TRY(row_of(batch, SERVICE_NAME, shared->service_name, !shared->has_service_name));
    TRY(row_of(batch, RESOURCE, shared->resource, 0));
    TRY(row_or_null(batch, RESOURCE_SCHEMA_URL, shared->resource_schema_url));
    TRY(row_or_null(batch, SCOPE_NAME, shared->scope_name));
    TRY(row_or_null(batch, SCOPE_VERSION, shared->scope_version));
    TRY(row_of(batch, SCOPE_ATTRIBUTES, shared->scope_attributes, !shared->has_scope_attributes));
    TRY(row_or_null(batch, SCOPE_SCHEMA_URL, shared->scope_schema_url));
    int64_t row = batch->num_rows++;
    batch->longs[START_NS][row] = (int64_t)span.start_ns;
    batch->longs[END_NS][row] = (int64_t)span.end_ns;
    batch->longs[START_TIME][row] = (int64_t)span.start_ns / 1000;
    batch->longs[END_TIME][row] = (int64_t)span.end_ns / 1000;
    batch->ints[FLAGS][row] = span.flags;
    batch->ints[DROPPED_ATTRIBUTES][row] = span.dropped_attributes;
    batch->ints[DROPPED_EVENTS][row] = span.dropped_events;
    batch->ints[DROPPED_LINKS][row] = span.dropped_links;
    batch->ints[RESOURCE_DROPPED_ATTRIBUTES][row] = shared->resource_dropped;
    batch->ints[SCOPE_DROPPED_ATTRIBUTES][row] = shared->scope_dropped;
    return DONE;
}

static Bytes written(const Text *text) {
    Bytes bytes = {(const uint8_t *)text->bytes, (const uint8_t *)text->bytes + text->size};
    return bytes;
}

static int add_scope(Batch *batch, Bytes bytes, Shared *shared, Keys *keys, Text *scratch) {
    Bytes none = {bytes.at, bytes.at};
    int num_scopes = 0, num_attributes = 0;
    shared->scope_name = shared->scope_version = shared->scope_schema_url = none;
    shared->scope_dropped = 0;
    scratch->size = 0;
    for (Bytes rest = bytes; rest.at < rest.end;) {
        Field field;
        TRY(read_field(&rest, &field));
        EXPECT(field.wire_type == DELIMITED);
        if (field.number == 3) {
            TRY(expect_text(field.bytes));
            shared->scope_schema_url = field.bytes;
        } else if (field.number == 1) {
            EXPECT(++num_scopes == 1);
            for (Bytes scope = field.bytes; scope.at < scope.end;) {
                Field part;
                TRY(read_field(&scope, &part));
                switch (part.number << 3 | part.wire_type) {
                    case 1 << 3 | DELIMITED: TRY(expect_text(part.bytes)); shared->scope_name = part.bytes; break;
                    case 2 << 3 | DELIMITED: TRY(expect_text(part.bytes)); shared->scope_version = part.bytes; break;
                    case 3 << 3 | DELIMITED: num_attributes++; break;
                    case 4 << 3 | VARINT: shared->scope_dropped = (uint32_t)part.number_value; break;
                    default: return UNUSUAL;
                }
            }
            TRY(put_attributes(scratch, field.bytes, 3, keys, NULL));
            EXPECT(scratch->size <= MAX_INLINE_BYTES);
            EXPECT(size_of(shared->scope_name) <= MAX_NAME_BYTES && size_of(shared->scope_version) <= MAX_NAME_BYTES);
        } else EXPECT(field.number == 2);
    }
    EXPECT(size_of(shared->scope_schema_url) <= MAX_NAME_BYTES);
    shared->has_scope_attributes = num_attributes > 0;
    shared->scope_attributes = written(scratch);
    for (Bytes rest = bytes; rest.at < rest.end;) {
        Field field;
        TRY(read_field(&rest, &field));
        if (field.number == 2) TRY(add_span(batch, field.bytes, shared, keys));
    }
    return DONE;
}

static int add_resource(Batch *batch, Bytes bytes, Keys *keys, Text *resource, Text *scratch) {
    Shared shared;
    Bytes none = {bytes.at, bytes.at}, message = none;
    int num_resources = 0;
    memset(&shared, 0, sizeof(shared));
    shared.resource_schema_url = none;
    for (Bytes rest = bytes; rest.at < rest.end;) {
        Field field;
        TRY(read_field(&rest, &field));
        EXPECT(field.wire_type == DELIMITED);
        if (field.number == 1) {
            EXPECT(++num_resources == 1);
            message = field.bytes;
            for (Bytes parts = message; parts.at < parts.end;) {
                Field part;
                TRY(read_field(&parts, &part));
                if (part.number == 2 && part.wire_type == VARINT) shared.resource_dropped = (uint32_t)part.number_value;
                else EXPECT(part.number == 1 && part.wire_type == DELIMITED);
            }
        } else if (field.number == 3) {
            TRY(expect_text(field.bytes));
            shared.resource_schema_url = field.bytes;
        } else EXPECT(field.number == 2);
    }
    resource->size = 0;
    TRY(put_attributes(resource, message, 1, keys, &shared.service_name));
    EXPECT(resource->size <= MAX_INLINE_BYTES && size_of(shared.resource_schema_url) <= MAX_NAME_BYTES);
    EXPECT(size_of(shared.service_name) <= MAX_NAME_BYTES);
    shared.has_service_name = shared.service_name.at != NULL;
    shared.resource = written(resource);
    for (Bytes rest = bytes; rest.at < rest.end;) {
        Field field;
        TRY(read_field(&rest, &field));
        if (field.number == 2) TRY(add_scope(batch, field.bytes, &shared, keys, scratch));
    }
    return DONE;
}

static int count_spans(Bytes request, int64_t *num_spans) {
    *num_spans = 0;
    while (request.at < request.end) {
        Field resource, scope, span;
        TRY(read_field(&request, &resource));
        EXPECT(resource.number == 1 && resource.wire_type == DELIMITED);
        while (resource.bytes.at < resource.bytes.end) {
            TRY(read_field(&resource.bytes, &scope));
            if (scope.number != 2) continue;
            EXPECT(scope.wire_type == DELIMITED);
            while (scope.bytes.at < scope.bytes.end) {
                TRY(read_field(&scope.bytes, &span));
                *num_spans += span.number == 2;
            }
        }
    }
    return DONE;
}

static int allocate(Batch *batch, int64_t num_spans) {
    batch->capacity = num_spans;
    size_t rows = (size_t)num_spans + 1;
    for (int column = 0; column < NUM_TEXTS; column++) {
        batch->texts[column].offsets = calloc(rows, sizeof(int32_t));
        batch->texts[column].validity = calloc(rows / 8 + 1, 1);
        if (!batch->texts[column].offsets || !batch->texts[column].validity) return NO_MEMORY;
    }
    for (int column = 0; column < NUM_LONGS; column++)
        if (!(batch->longs[column] = malloc(rows * sizeof(int64_t)))) return NO_MEMORY;
    for (int column = 0; column < NUM_INTS; column++)
        if (!(batch->ints[column] = malloc(rows * sizeof(uint32_t)))) return NO_MEMORY;
    return DONE;
}

void spanloop_free(Batch *batch) {
    for (int column = 0; column < NUM_TEXTS; column++) {
        free(batch->texts[column].offsets);
        free(batch->texts[column].validity);
        free(batch->texts[column].text.bytes);
    }
    for (int column = 0; column < NUM_LONGS; column++) free(batch->longs[column]);
    for (int column = 0; column < NUM_INTS; column++) free(batch->ints[column]);
    memset(batch, 0, sizeof(*batch));
}

/* What the caller has to agree with: the version of this interface and the size of what it reads. */
#define ABI_VERSION 2
int64_t spanloop_abi(void) { return (int64_t)ABI_VERSION << 32 | (int64_t)sizeof(Batch); }

/* Decode a request. Whatever comes back, `spanloop_free` must be called on the batch once. */
int spanloop_decode_spans(const uint8_t *body, int64_t size, Batch *batch) {
    Bytes request = {body, body + size};
    Text resource = {0}, scratch = {0};
    int64_t num_spans;
    memset(batch, 0, sizeof(*batch));
    TRY(count_spans(request, &num_spans));
    TRY(allocate(batch, num_spans));
    TRY(reserve(&batch->texts[ATTRIBUTES].text, size)); /* most of a request; as JSON it is about as long */
    Keys *keys = calloc(1, sizeof(Keys));
    int status = keys ? DONE : NO_MEMORY;
    while (status == DONE && request.at < request.end) {
        Field field;
        status = read_field(&request, &field);
        if (status == DONE) status = add_resource(batch, field.bytes, keys, &resource, &scratch);
    }
    free(keys);
    free(resource.bytes);
    free(scratch.bytes);
    return status;
}
