"""The words in which users praise or correct an answer, by language; what is not here says nothing.

A line is a pattern that is looked for in one clause of a reply: casefolded, apostrophes straight, spaces single. They
are phrases that speak of an answer, not words that any text may hold ("it doesn't work", not "doesn't work"): a new
question about what is wrong with a car is no correction.
"""
# ruff: noqa: RUF001 - Cyrillic and Turkish letters are meant

import re
from collections.abc import Mapping

IT = r"(it|this|that|these|those|the (answer|result|output|code|link|number|date|script|solution|translation))"
"""What `IT` in a pattern stands for."""

BE = r"('s|'re| is| are| was)"

POLITE = (
    r"(problem|worries|thanks|thank|need|further|more|rush|idea|matter|doubt|preference|one|longer|all good|keep"
    r"|go ahead|just|gracias|grazie|está bien|va bene|problema|te preocupes|hay problema|importa)"
)
"""What may follow on a no that corrects nothing."""

FINE = r"(fine|all|ok|okay|it|good|great|perfect|right|correct)"

NOW = r"^(ok,? |okay,? |oh,? |ah,? |yes,? |yep,? |no,? |wow,? |great,? |cool,? |got it,? )*"
"""What `NOW` in a pattern stands for: the beginning, and what is said before what matters."""

CORRECTIONS: dict[str, str] = {
    "en": r"""
        ^IT BE (still |totally |completely |all |just |also )?(wrong|incorrect|false|broken)\b
        ^IT BE (still |just |also )?not (right|correct|true|it|what i)\b
        \bIT BE (still |totally |completely |all |just |also )?(wrong|incorrect)\b
        \bIT (isn't|is not|aren't|wasn't) (right|correct|true|it|working|what i\b)
        \bIT (still )?(does not|doesn't|didn't|did not|won't) (work|compile|run|help|make sense|answer|fit)
        ^(still )?(does not|doesn't|didn't|did not|not) work(ing)?\b
        \bIT('s| is) (still )?not working
        ^(IT )?still (fails|failing|broken|wrong|not working|not right|the same|getting)\b
        \bnot what i (asked|meant|wanted|said|need)\b
        \bthat's not it\b
        \byou (forgot|missed|misunderstood|misread|ignored|skipped|got (it|that|this) wrong|made (a|an|the) mistake)\b
        \byou (didn't|did not|haven't|never) (answer|read|include|use|follow|understand|listen|do what)
        ^(sorry,? |no,? |actually,? )?i (meant|asked for|already told you|already said)\b
        ^(sorry|no),? i said\b
        \bi didn't (ask|mean)\b
        ^(please )?(try|do it|start) (again|over)\b
        ^(please )?(undo|revert) (that|this|it)\b
        ^(wrong|incorrect|false|nonsense|useless)\b(?! (turn|way|side|number|address))
        ^(no|nope)\b(?!,? (POLITE|that('s| is) FINE|it('s| is) FINE)\b)
    """,
    "de": r"""
        ^(nein|ne|nö)\b(?!,? (danke|passt|alles|das (passt|ist (gut|ok|richtig|alles))|keine)\b)
        ^(leider )?(falsch|unsinn|quatsch)\b(?! (ab|ge))
        \b(das|es|dies) (ist|war) (leider |immer noch |so )?(falsch|nicht (richtig|korrekt|das|was ich))
        \bstimmt (so |leider |immer noch )?nicht\b
        \bnicht (das )?,? ?was ich (wollte|meinte|gefragt)
        \bich meinte\b
        \b(das|es) (funktioniert|geht|klappt) (so |leider |immer noch |noch )*nicht\b
        \bdu hast .{0,40}(vergessen|übersehen)\b
    """,
    "es": r"""
        ^no,? (es|era|eso|esto|me refer|quise|quería|funciona|está)
        \b(está|es) (mal|incorrect[oa]|equivocad[oa])\b
        \b(eso|esto) no (es|era|está|funciona|sirve)\b
        \b(sigue sin|todavía no) (funciona|estar)
        ^te equivoca
        ^quise decir\b
        \bno (es|era) lo que (ped|quer|pregunt)
        \bte (olvidaste|equivocaste)\b
    """,
    "fr": r"""
        ^non\b(?!,? (merci|c'est (bon|parfait|tout)|ça (va|ira))\b)
        ^faux\b
        \b(c'est|c'était) (faux|incorrect|pas (ça|bon|correct|juste))
        \b(ce n'est|c'est) pas (ça|ce que j|correct|bon|juste|exact)
        \bça ne (marche|fonctionne) (toujours )?pas\b
        \bça (marche|fonctionne) (toujours )?pas\b
        \bje voulais (dire|plutôt)\b
        \b(tu te trompes|vous vous trompez|tu as oublié|vous avez oublié)\b
    """,
    "it": r"""
        \b(è|era) (sbagliat[oa]|errat[oa])\b
        ^sbagliato\b
        \bnon (è|era) (corrett[oa]|giust[oa]|quello che|quel che)
        \bnon funziona\b(?! (il|la|lo|l'))
        \bintendevo\b
        \bti sei (sbagliat|dimenticat)
    """,
    "pt": r"""
        ^não[,.!]
        ^não (é|era|foi) (isso|o que)
        \b(está|é) errad[oa]\b
        ^errado\b
        \bisso não (é|está|funciona)\b
        \bnão (foi|é|era) o que (eu )?(pedi|quis|queria)
        \beu (quis|queria) dizer\b
        \b(você|vc) (esqueceu|errou)\b
    """,
    "nl": r"""
        ^nee\b(?!,? (hoor|dank|bedankt|hoeft|prima)\b)
        \b(dat|dit|het) (klopt|werkt) (nog steeds |nog |helemaal )?niet\b
        \b(dat|dit) is (fout|onjuist|verkeerd|niet (juist|goed|wat ik))
        ^(fout|verkeerd)\b
        \bik bedoelde\b
        \bje bent .{0,30}vergeten\b
    """,
    "pl": r"""
        ^nie[,.!]
        ^(źle|błędnie)\b
        \bto (jest )?(źle|błąd|nieprawda|nie to|nie działa)\b
        \bchodziło mi o\b
        \bnadal nie działa\b
    """,
    "ru": r"""
        ^нет[,.!]
        ^(неправильно|неверно|не то|ошибка)\b
        \bэто (неправильно|неверно|не (то|так|работает))
        \b(всё|все) (ещё|еще|равно) не работает
        \bя имел[аи]? в виду\b
        ^не работает\b
        \bты (забыл|ошиб)
    """,
    "tr": r"""
        ^hayır[,.!]
        ^yanlış\b
        \b(bu|o) (yanlış|doğru değil|çalışmıyor)\b
        \bdemek istedi(m|ğim)\b
    """,
    "zh": r"""
        ^(不对|不對|错了|錯了|不是这|不是這|不是的|不行)
        (这|這|那|还是|還是|依然)(个|個)?(不对|不對|错的|錯的|是错|是錯|不行|不能用|没用)
        我(是说|是說|的意思是)
        你(理解错|理解錯|弄错|弄錯|搞错|搞錯|忘了|漏了)
        (回答|答案)(错|錯|不对|不對)
    """,
    "ja": r"""
        ^(いいえ|いや)[、。,!]
        ^(違|ちが)(います|う|って)
        (それ|これ|答え|結果)(は|が)(違|間違)
        間違って(い)?ます
        (まだ|やっぱり)動(きません|かない)
        ^動(きません|かない)
        そうじゃ(なく|ない)
        という意味では
    """,
    "ko": r"""
        ^(아니(요|오|에요|야)?|틀렸|틀려)
        (그게|이게|답이|결과가) ?(아니|틀)
        (아직|여전히) ?(안|작동하지)
        제 말은
        내 말은
    """,
    "ar": r"""
        ^(لا[،,.!]|خطأ|غير صحيح)
        (هذا|هذه) (خطأ|غير صحيح|لا يعمل)
        كنت أقصد
    """,
    "hi": r"""
        ^(नहीं[,।!]|गलत)
        (यह|ये) (गलत|सही नहीं)
        मेरा मतलब
    """,
}
"""What is said against an answer."""

PRAISE: dict[str, str] = {
    "en": r"""
        NOW (many |much |ok )?(thanks|thank you|thx|ty|cheers|much appreciated)\b(?! in advance)
        NOW (IT BE? ?|looks |absolutely |just |all )*GOOD( (work|job|answer|explanation|now))?END
        ^no (worries|problem),? (thanks|thank you)\b
        ^(great|super|cool|nice|lovely|perfect)([,.!]| (job|work|one|answer|explanation|thanks)|$)
        \b(well done|good job)\b
        \b(that|this|it) (worked|works|helped|helps|did it|does it|fixed it|solved it)\b
        \bworks now\b
        \b(fixed|solved) (it|my|the)\b
        \bexactly (right|what i)
        ^(yes,? )?(that is|that's) (right|correct|it)\b
    """,
    "de": r"""
        ^(ok,? |ja,? |super,? |gut,? |prima,? |ah,? )*(vielen |herzlichen |besten )?dank(e|eschön)?\b(?! im voraus)
        ^(ja,? |das ist |das war |ok,? )*(perfekt|super|prima|klasse|genau|toll|ausgezeichnet|wunderbar)($|[,.!])
        \b(das|es|jetzt) (hat geklappt|hat geholfen|funktioniert jetzt|passt|stimmt)($|[,.!])
        \bgenau (richtig|so|das)\b
    """,
    "es": r"""
        ^(ok,? |sí,? |vale,? |no,? )*(muchas |muchísimas |mil )?gracias\b(?! de antemano)
        ^(¡)?(eso es )?(perfecto|excelente|genial|estupendo|buenísimo)($|[,.!])
        \bya funciona\b
    """,
    "fr": r"""
        ^(ok,? |oui,? |non,? |super,? |parfait,? )*(un grand |mille )?merci\b(?! d'avance| de (me|bien|vouloir))
        ^(c'est )?(parfait|excellent|génial|super|impeccable)($|[ ]?[,.!])
        \bça (marche|fonctionne)( maintenant)?($|[ ]?[,.!])
    """,
    "it": r"""
        ^(ok,? |sì,? |no,? )*(tante |mille |molte )?grazie\b(?! in anticipo)
        ^(è )?(perfetto|ottimo|eccellente)($|[,.!])
    """,
    "pt": r"""
        ^(ok,? |sim,? |não,? )*(muito )?obrigad[oa]\b(?! desde já)
        ^(está )?(perfeito|ótimo|excelente)($|[,.!])
    """,
    "nl": r"""
        ^(ok,? |ja,? |nee,? )*(hartelijk |heel erg )?(bedankt|dank je|dank u|dankjewel)\b(?! alvast)
        ^(perfect|top|prima)($|[,.!])
    """,
    "pl": r"""
        ^(ok,? |tak,? )*(bardzo |wielkie )?(dziękuję|dziekuje|dzięki|dzieki)\b
        ^(świetnie|super|idealnie)($|[,.!])
    """,
    "ru": r"""
        ^(ок,? |да,? |нет,? )*(большое |огромное )?спасибо\b
        ^(отлично|супер|идеально|прекрасно)($|[,.!])
    """,
    "tr": r"""
        ^(tamam,? )*(çok )?(teşekkür|sağ ?ol)
        ^(mükemmel|harika|süper)($|[,.!])
    """,
    "zh": r"""
        ^(好的?[,，]?)?(谢谢|謝謝|多谢|多謝|感谢|感謝)
        ^(太好了|太棒了|完美|很好|非常好)
    """,
    "ja": r"""
        ^(どうも)?(ありがとう|有難う|有り難う)
        ^(助かり|完璧|素晴らしい|最高)
        うまくいきました
    """,
    "ko": r"""
        ^(네[, ]*)?(정말 |너무 )?(감사|고마워|고맙)
        ^(완벽|훌륭|최고)
    """,
    "ar": r"""
        ^(شكرا|شكراً)
        ^(ممتاز|رائع)
    """,
    "hi": r"""
        ^(बहुत )?(धन्यवाद|शुक्रिया)
        ^(बढ़िया|बहुत अच्छा)
    """,
}
"""What is said for it."""

DOUBT = (
    r"\b(not|isn't|no|but|however|though|aber|pero|mais|maar),? (really |very )?(perfect|great|excellent|what|thank)"
    r"|^(nein|nee|non|no|não),? (danke|dank|bedankt|merci|gracias|grazie|obrigad)"
)
"""What takes praise back."""

GOOD = (
    r"(perfect|excellent|awesome|wonderful|brilliant|fantastic|amazing|spot on|great|well done|very helpful|so helpful)"
)
END = r"($|[,.!:;)]| thanks| thank you)"

NAMES = {"GOOD": GOOD, "END": END, "POLITE": POLITE, "FINE": FINE, "NOW ": NOW, "IT BE": IT + BE, "IT": IT}
"""What stands for what in a pattern."""


def compiled(by_language: Mapping[str, str]) -> re.Pattern[str]:
    """Return one pattern of all languages'."""
    lines = [line.strip() for text in by_language.values() for line in text.splitlines()]
    text = "|".join(line for line in lines if line)
    for name, meant in NAMES.items():
        text = text.replace(name, meant)
    return re.compile(text)
