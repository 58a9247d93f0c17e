/** Wraps a `fetch`, by default the global one, which is replaced; returns the wrapped one. A second call changes nothing. */
export function track(fetch?: typeof globalThis.fetch): typeof globalThis.fetch;

export interface EpisodeOptions {
  /** Joins what belongs to one attempt at one task, over processes. Default: what happens inside. */
  id?: string;
  /** Groups attempts at the same task. */
  task?: string;
  /** Joins the episodes of one user's history. */
  conversation?: string;
  /** `heldout` keeps the episode out of training, for good. */
  split?: "train" | "heldout";
  /** Further attributes of the root span. */
  attributes?: Record<string, string | number | boolean>;
}

/** Runs one attempt at one task; everything recorded inside belongs to it. */
export function episode<T>(options: EpisodeOptions, run: () => T): T;

/** Runs an agent (role) of this name. */
export function agent<T>(name: string, run: () => T): T;

/** Returns the tool, recorded: each execution with its arguments, its result or its error. */
export function tool<F extends (...values: any[]) => any>(name: string, execute: F): F;

/** Adds attributes to the span around this line; tells whether there is one. */
export function annotate(attributes: Record<string, string | number | boolean>): boolean;

export interface RewardOptions {
  /** What was judged. Default: `outcome`. */
  name?: string;
  label?: string;
  explanation?: string;
  /** What it is about, where that is not the span around this line. */
  traceId?: string;
  spanId?: string;
  responseId?: string;
  episodeId?: string;
  sessionId?: string;
}

/** Says how it went; tells whether that is recorded. Never throws. */
export function reward(value: number, options?: RewardOptions): boolean;

/** Sends what is recorded now; tells whether all of it left. */
export function flush(): Promise<boolean>;
