import pytest

from fastdiff.apps.docclean.ocr import text_metrics
from fastdiff.solvers.errors import UsageError


def test_profiles_forgive_more_and_more():
    typeset, typed = "\u201cIt\u2019s \ufb01ne\u201d \u2014 said\u00a0no\u00adbody", '"It\'s fine" - said nobody'
    assert text_metrics.strict(" a\n\n b\t") == "a b"
    assert text_metrics.strict(typeset) != typed
    assert text_metrics.standard(typeset) == typed
    assert text_metrics.standard(typed.upper()) != typed
    assert text_metrics.relaxed(typed.upper()) == text_metrics.relaxed(typeset) == "its fine said nobody"


def test_error_rates_count_edits_over_the_truth():
    assert text_metrics.cer("abcde", "abXde") == pytest.approx(1 / 5)
    assert text_metrics.cer("ab", "abcdef") == pytest.approx(2.0)
    assert text_metrics.wer("one two three four", "one too four") == pytest.approx(2 / 4)
    assert text_metrics.cer("\u2018a\u2019", "'a'") == 0
    assert text_metrics.cer("\u2018a\u2019", "'a'", profile="strict") == pytest.approx(2 / 3)


def test_an_empty_truth_has_an_error_rate():
    assert text_metrics.cer(" ", "") == text_metrics.wer("", "\n") == 0
    assert text_metrics.cer("", "x") == text_metrics.wer("", "x") == 1


def test_words_are_multisets_without_order():
    score = text_metrics.word_score("a b b c", "c b a d d")
    assert score == pytest.approx((3 / 5, 3 / 4, 2 / 3))
    assert text_metrics.word_score("one two", "two one").f == 1
    assert text_metrics.word_score("", "") == (1, 1, 1)
    assert text_metrics.word_score("a", "") == (0, 0, 0)


def test_dictionary_hits_are_known_words_of_three_letters():
    assert text_metrics.dictionary_hits("The cat is on xqzvk tabie table, TABLE!") == 4


def page(*words):
    return "<div class='ocr_page'>" + "".join(f"<span class='ocrx_word x'>{word}</span>" for word in words) + "</div>"


def test_truth_is_found_by_stem_and_split_into_pages(tmp_path):
    (tmp_path / "a.txt").write_text("first\fsecond")
    (tmp_path / "a.hocr").write_text(page("not read: the text file goes first"))
    pages = page("one", "&amp;", "d<b>e</b>ux") + page("three")
    (tmp_path / "b.truth.hocr").write_text(f"<html><body>{pages}</body></html>")
    assert [text_metrics.true_text(tmp_path, "a", number) for number in range(3)] == ["first", "second", None]
    assert [text_metrics.true_text(tmp_path, "b", number) for number in range(3)] == ["one & deux", "three", None]
    assert text_metrics.true_text(tmp_path, "c", 0) is None


def test_xhtml_with_a_declaration_and_accents_is_hocr(tmp_path):
    head = '<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml"><body>'
    (tmp_path / "a.hocr").write_text(f"{head}{page('é', '—')}</body></html>", encoding="utf-8")
    assert text_metrics.true_text(tmp_path, "a", 0) == "é —"


def test_entities_of_a_truth_file_are_not_expanded(tmp_path):
    (tmp_path / "secret").write_text("secret")
    nested = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 10))
    declared = f'<!DOCTYPE html [<!ENTITY e0 "boom">{nested}<!ENTITY file SYSTEM "{tmp_path}/secret">]>'
    (tmp_path / "a.hocr").write_text(f"{declared}<html><body>{page('&e9;', '&file;')}</body></html>")
    truth = text_metrics.true_text(tmp_path, "a", 0)
    assert truth is not None and "boom" not in truth and "secret" not in truth


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.txt", b"caf\xe9", "UTF-8"),
        ("a.hocr", b"<html><body>words</body></html>", "ocr_page"),
        ("a.hocr", b"", "ocr_page"),
    ],
)
def test_an_unreadable_truth_is_reported_in_one_sentence(tmp_path, name, content, complaint):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=complaint):
        text_metrics.true_text(tmp_path, "a", 0)


def test_a_truth_beyond_the_limit_is_not_read(tmp_path):
    with (tmp_path / "a.txt").open("wb") as sparse:
        sparse.truncate(text_metrics.LARGEST_TRUTH + 1)
    with pytest.raises(UsageError, match="at most"):
        text_metrics.true_text(tmp_path, "a", 0)
