import time

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpipe.signals.language import language_mismatch

TEXTS = {
    "en": "Where is the parcel that I have ordered, and when will it be here?",
    "de": "Wo ist das Paket, das ich bestellt habe, und wann wird es bei mir sein?",
    "fr": "Où est le colis que j'ai commandé, et quand est-ce qu'il sera chez moi ?",
    "es": "¿Dónde está el paquete que he pedido y cuándo llega a mi casa?",
    "it": "Dov'è il pacco che ho ordinato e quando arriva da me? Non è ancora qui.",
    "pt": "Onde está a encomenda que eu fiz e quando é que chega? Não está aqui.",
    "nl": "Waar is het pakket dat ik heb besteld en wanneer komt het bij mij aan?",
    "sv": "Var är paketet som jag har beställt och när kommer det till mig?",
    "pl": "Gdzie jest paczka, którą zamówiłem, i kiedy będzie u mnie?",
    "cs": "Kde je balík, který jsem si objednal, a kdy bude u mě?",
    "fi": "Missä on paketti, jonka olen tilannut, ja milloin se tulee minulle?",
    "hu": "Hol van a csomag, amit rendeltem, és mikor lesz nálam, ha nem ma?",
    "ro": "Unde este coletul pe care l-am comandat și când va fi la mine?",
    "tr": "Sipariş ettiğim paket nerede ve ne zaman bana gelecek, bu hafta mı?",
    "id": "Di mana paket yang saya pesan dan kapan akan sampai pada saya?",
    "vi": "Gói hàng của tôi ở đâu và khi nào thì nó được giao?",
    "ru": "Где посылка, которую я заказал, и когда она у меня будет?",
    "uk": "Де посилка, яку я замовив, і коли вона у мене буде? Ще немає її.",
    "bg": "Къде е пратката, която поръчах, и кога ще бъде при мен? Моля ви.",
    "ar": "أين الطرد الذي طلبته، ومتى يصل إلى البيت؟ هذا غير واضح على الموقع",
    "fa": "بسته‌ای که سفارش دادم کجا است و چه زمانی به من می‌رسد؟ آیا این هفته؟",
    "hi": "मेरा पार्सल कहाँ है और वह कब आएगा?",
    "el": "Πού είναι το δέμα μου και πότε θα έρθει;",
    "he": "איפה החבילה שלי ומתי היא תגיע?",
    "th": "พัสดุที่ฉันสั่งอยู่ที่ไหนและจะมาถึงเมื่อไร",
    "ja": "注文した荷物はどこですか。いつ届きますか。",
    "zh": "我订购的包裹在哪里？什么时候能到？",
    "ko": "제가 주문한 소포는 어디에 있고 언제 도착하나요?",
}


def judged(request: str | None, answer: str | None) -> tuple[str | None, str | None, float]:
    pairs = pl.DataFrame({"trace_id": ["t"], "request": [request], "answer": [answer]}, schema_overrides=_SCHEMA)
    return language_mismatch(pairs).select("request_language", "answer_language", "language_mismatch").row(0)


_SCHEMA = {"request": pl.String, "answer": pl.String}


@pytest.mark.parametrize("language", TEXTS)
def test_a_sentence_is_known_and_agrees_with_itself(language: str):
    assert judged(TEXTS[language], TEXTS[language]) == (language, language, 0.0)


def test_every_other_language_is_a_mismatch():
    pairs = [(f"{a}>{b}", TEXTS[a], TEXTS[b]) for a in TEXTS for b in TEXTS if a != b]
    found = language_mismatch(pl.DataFrame(pairs, schema=["trace_id", "request", "answer"], orient="row"))
    missed = found.filter(pl.col("language_mismatch") < 0.5)["trace_id"].to_list()
    assert missed == []
    assert (found["answer_language"] == found["trace_id"].str.tail(2)).all()


def test_the_share_of_an_answer_in_two_languages():
    # Of the request's language: the, is, at, your (4 different words); of the other alone: ist, bei, ihnen (3).
    # "Das Paket" might be a name.
    share = judged(TEXTS["en"], "The parcel is at your house now. Das Paket ist bei Ihnen.")[2]
    assert share == pytest.approx(3 / 7)


@pytest.mark.parametrize(
    ("request_text", "answer"),
    [
        ("ok", TEXTS["de"]),  # too short a request
        (TEXTS["en"], "Los Angeles, San Diego, El Paso, Las Vegas"),  # names
        (TEXTS["en"], "1. Kansas City, MO\n2. Kenner, LA\n3. Keene, DE"),  # codes of states
        (TEXTS["en"], '{"status": "der die das und ist nicht"}'),
        (TEXTS["en"], "```\n# das ist nicht der Code\n```"),
        (TEXTS["en"], 'The song is called "Das ist nicht die ganze Welt" and it is by them.'),
        (TEXTS["ja"], "OpenTelemetryを使ってください。Docker ComposeとKubernetesの設定です。"),
        (TEXTS["en"] + " Please answer in German.", TEXTS["de"]),
        (None, TEXTS["de"]),
        (TEXTS["en"], None),
        (TEXTS["en"], ""),
    ],
)
def test_there_is_no_mismatch_without_a_clear_case(request_text: str | None, answer: str | None):
    assert judged(request_text, answer)[2] == 0


def test_a_change_of_language_at_the_end_of_a_long_answer_is_seen():
    assert judged(TEXTS["en"], TEXTS["en"] * 30 + (TEXTS["es"] + " ") * 8)[2] > 0.3


def test_rows_come_in_the_order_of_the_pairs():
    pairs = pl.DataFrame({"trace_id": ["b", "a"], "request": [TEXTS["en"]] * 2, "answer": [TEXTS["de"], TEXTS["en"]]})
    assert language_mismatch(pairs)["answer_language"].to_list() == ["de", "en"]


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(max_size=200), st.text(max_size=200)), min_size=1, max_size=3))
def test_any_text_is_survived(texts: list[tuple[str, str]]):
    pairs = pl.DataFrame(
        [(str(i), *pair) for i, pair in enumerate(texts)], schema=["trace_id", "request", "answer"], orient="row"
    )
    assert language_mismatch(pairs)["language_mismatch"].is_between(0, 1).all()


def test_texts_of_five_megabytes_cost_no_more_than_their_ends():
    started = time.process_time()
    assert judged(TEXTS["en"] * 80_000, (TEXTS["de"] + "«`{{") * 80_000)[2] == 1
    assert time.process_time() - started < 5
