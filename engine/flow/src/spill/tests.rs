//! What goes in comes out.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

fn record(number: usize, length: usize) -> Record {
    let fields = [("text".into(), Value::text("x".repeat(length))), ("number".into(), Value::Int(number as i64))];
    Record { id: format!("r{number}").into(), fields: fields.into() }
}

proptest! {
    #[test]
    fn a_queue_gives_back_what_it_took_in_order(
        steps in proptest::collection::vec((any::<bool>(), 0..4usize, 0..300usize), 0..80),
        memory in 0..2000usize,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut queue = SpillQueue::with_memory(&folder.path().join("made"), memory);
        let mut model = VecDeque::new();
        for (index, (push, records, length)) in steps.into_iter().enumerate() {
            if push {
                let batch: Vec<Record> = (0..records).map(|number| record(index * 10 + number, length * 40)).collect();
                let port = if index % 3 == 0 { "left" } else { "right" };
                queue.push(port, batch.clone()).unwrap();
                model.push_back((port, batch));
            } else {
                prop_assert_eq!(queue.pop().unwrap(), model.pop_front());
            }
            prop_assert_eq!((queue.len(), queue.is_empty()), (model.len(), model.is_empty()));
        }
        while let Some(batch) = model.pop_front() {
            prop_assert_eq!(queue.pop().unwrap(), Some(batch));
        }
        prop_assert_eq!(queue.pop().unwrap(), None);
    }

    #[test]
    fn a_spill_gives_what_lies_at_a_place(
        lengths in proptest::collection::vec(prop_oneof![0..50usize, 4000..9000usize], 1..30),
        memory in prop_oneof![0..200usize, Just(1 << 20)],
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut spill = Spill::with_memory(folder.path(), memory);
        let strings: Vec<Vec<u8>> =
            lengths.iter().enumerate().map(|(index, length)| [vec![index as u8], vec![7; *length]].concat()).collect();
        let places: Vec<u64> = strings.iter().map(|bytes| spill.append(bytes).unwrap()).collect();
        prop_assert!(places.is_sorted_by(|one, next| one < next));
        for (place, bytes) in places.iter().zip(&strings).rev() {
            prop_assert_eq!(spill.get(*place).unwrap(), bytes);
            prop_assert_eq!(spill.find(bytes).unwrap(), Some(*place));
        }
        prop_assert_eq!(spill.find(b"not there").unwrap(), None);
    }

    #[test]
    fn buckets_keep_their_order(
        pushes in proptest::collection::vec((0..5usize, 0..40usize), 0..60),
        memory in 0..200usize,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut buckets = Buckets::with_memory(folder.path(), 5, memory);
        let mut model = vec![Vec::new(); 5];
        for (index, (bucket, length)) in pushes.into_iter().enumerate() {
            buckets.push(bucket, &vec![index as u8; length]).unwrap();
            model[bucket].extend(vec![index as u8; length]);
        }
        for (bucket, bytes) in model.into_iter().enumerate() {
            prop_assert_eq!(buckets.take(bucket).unwrap(), bytes);
        }
    }
}

#[test]
fn what_spills_leaves_no_file_and_names_its_folder_when_it_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made");
    let mut queue = SpillQueue::with_memory(&made, 0);
    for number in 0..200 {
        queue.push("input", vec![record(number, 5000)]).unwrap();
    }
    assert_eq!(std::fs::read_dir(&made).unwrap().count(), 0, "the file has no name");
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let mut spill = Spill::with_memory(&file, 0);
    spill.append(b"one").unwrap();
    let error = spill.append(b"two").unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot write temporary data in `{}`", file.display())), "{error}");
}
