//! The graders on any two texts, parted by a byte that no text has: a verdict, never a panic, and nothing slow. Equal texts are
//! equal answers to the project's own, and the verdict without its explanation is the verdict with it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ruminate_grade::{Grader, Mode, clean_answer, extract, format_score, grade};

fuzz_target!(|input: &[u8]| {
    let mut parts = input.split(|byte| *byte == 0xff).map(String::from_utf8_lossy);
    let (prediction, truth) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    for grader in Grader::ALL {
        for mode in [Mode::Answer, Mode::Response] {
            let verdict = grader.grade(&prediction, &truth, mode);
            assert_eq!(verdict.correct, verdict.rule.is_correct());
            assert_eq!(grader.rule(&prediction, &truth, mode), verdict.rule);
            assert_eq!(grader.grade(&prediction, &truth, mode), verdict, "another verdict on the same texts");
            grader.extract(&prediction, mode);
        }
    }
    if extract(&truth).is_some_and(|(answer, _)| !answer.is_empty()) {
        assert!(grade(&truth, &truth, Mode::Answer).correct);
    }
    clean_answer(&prediction);
    format_score(&prediction);
});
