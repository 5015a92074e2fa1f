//! The choice that the last line of a response makes: one letter, in a sentence that says nothing else.
//! One pass over the line; knows the words of such sentences, not what is asked.

use crate::characters::part;

/// First four letters of the words that may stand around a letter in a sentence that only says which choice is right:
/// those that choose, after which the option's text may follow the letter; those that conclude; the others.
#[rustfmt::skip]
const CHOOSING: [[u8; 4]; 38] = [
    *b"is  ", *b"be  ", *b"s   ", *b"pick", *b"choo", *b"sele", *b"matc", *b"corr", *b"go  ",
    *b"so  ", *b"thus", *b"henc", *b"ther", *b"answ", *b"ans ",
    *b"d   ", *b"the ", *b"righ", *b"best", *b"fina", *b"opti", *b"choi", *b"lett", *b"one ", *b"i   ", *b"it  ", *b"this", *b"woul",
    *b"must", *b"shou", *b"here", *b"to  ", *b"with", *b"my  ", *b"then", *b"clea", *b"ll  ", *b"text",
];
/// Where the verbs end, and where the conclusions do.
const VERBS: usize = 9;
const CONCLUSIONS: usize = 15;
/// No word yet in this sentence.
const NOTHING: usize = usize::MAX - 1;
/// A word that is not of the table.
const OTHER: usize = usize::MAX;

/// The letter that the last line chooses, in words of [`CHOOSING`] only. A letter that is only discussed has other words
/// around it; where another letter follows, none is chosen.
pub(crate) fn chosen(line: &str) -> Option<&str> {
    const END: u8 = 1;
    const COMMA: u8 = 2;
    const LABEL: u8 = 4;
    const CLOSE: u8 = 8;
    let bytes = line.as_bytes();
    let (mut letter, mut chooses, mut text_follows) = (None, false, false);
    // The first place of the sentence's words; the start of the line is as good as a conclusion.
    let (mut first, mut marks, mut at) = (CONCLUSIONS, 0, 0);
    while let Some(byte) = bytes.get(at) {
        let (start, stem) = (at, word(bytes, &mut at));
        if at == start {
            at += 1;
            marks |= match byte {
                b'?' => return None,
                b'.' | b'!' | b';' => END,
                b',' => COMMA,
                // With the last bytes of dashes.
                b':' | b'-' | 0x93 | 0x94 => LABEL,
                b')' => CLOSE,
                _ => 0,
            };
            continue;
        }
        let pronoun = *byte == b'I' && matches!(bytes.get(at), Some(b' ' | b'\'' | 0xe2));
        let is_letter = at == start + 1 && matches!(byte, b'A'..=b'J') && !pronoun;
        let place = CHOOSING.iter().position(|known| *known == stem);
        if letter.is_some() {
            if is_letter {
                return None;
            }
            text_follows |= chooses && marks > 0;
            // `B is correct`.
            chooses |= place == Some(0);
            if !(text_follows || chooses && place.is_some()) {
                (letter, first) = (None, OTHER);
            }
        } else {
            // A clause of its own, or an item of a list.
            let comma = first == OTHER && marks & COMMA > 0;
            if marks & END > 0 || comma || (first == CONCLUSIONS && marks & LABEL > 0) {
                first = NOTHING;
            }
            if is_letter && first != OTHER {
                chooses = first < VERBS || (first < CONCLUSIONS && marks & LABEL > 0);
                letter = Some(part(line, start, at));
            } else if first != OTHER {
                // At the start of the line any word of the table concludes: `Final choice: B`.
                let before = if first == CONCLUSIONS { first - 1 } else { first };
                first = place.map_or(OTHER, |place| before.min(place));
            }
        }
        marks = 0;
    }
    letter.filter(|_| chooses || first <= CONCLUSIONS)
}

/// The first four letters of a word in lowercase; the place moves to the word's end.
fn word(bytes: &[u8], at: &mut usize) -> [u8; 4] {
    let mut stem = *b"    ";
    let start = *at;
    while let Some(byte) = bytes.get(*at).filter(|byte| byte.is_ascii_alphanumeric()) {
        if let Some(place) = stem.get_mut(*at - start) {
            *place = byte.to_ascii_lowercase();
        }
        *at += 1;
    }
    stem
}

#[cfg(test)]
mod tests {
    use crate::extract::{Source, extract};

    #[test]
    fn a_closing_sentence_chooses_a_letter() {
        for sentence in [
            "So it's B.",
            "So it’s **B**",
            "Therefore, option B is correct.",
            "Hence, B.",
            "A and C are too small, so the correct choice is (B).",
            "Option (B) is the right one, because 7 is prime.",
            "Answer - B",
            "Answer – B",
            "The correct letter is B.",
            "It is 7. So I pick **B. root**.",
            "Correct option: **(B)**",
            "My choice: B) root",
            "The right answer here is B) root.",
            "The answer would be “B”.",
            "This corresponds to option B.",
            "Final choice: B",
            "I'd go with $\\text{(B)}$ ✓",
            "**B** is the correct answer.",
        ] {
            for before in ["", "Of (A) 5 and (B) 6:\n"] {
                let response = format!("{before}{sentence}");
                assert_eq!(extract(&response), Some(("B", Source::Choice)), "{response}");
            }
        }
    }

    #[test]
    fn a_letter_that_is_discussed_is_not_chosen() {
        for sentence in [
            "So it's not B.",
            "So it can't be B.",
            "So option B is too small.",
            "Therefore, option B is wrong.",
            "The wrong choice is B.",
            "So we can rule out option B.",
            "Same for option B.",
            "- B",
            "- Option B: too small",
            "(B) too small",
            "Is it B?",
            "So is it B or not",
            "Option B would be correct, were it smaller.",
            "Many students choose B.",
            "It is B or C.",
            "So it's B/C.",
            "It's B, or C.",
            "It's B, not C.",
            "I choose B and C.",
            "A and B are correct.",
            "I pick B because A is too small.",
            "So A triangle has sides",
            "So B = x + y",
            "The center is B.",
            "From A, then to B.",
        ] {
            assert_eq!(extract(sentence), None, "{sentence}");
        }
    }
}
