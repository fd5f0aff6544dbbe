//! Columns give back what was put in, in every coding, and refuse the rest.

use proptest::prelude::*;

use super::*;
use crate::encoding::put_varint;

const INFLATED_MAX: usize = 1 << 20;

/// Numbers as histories have them: runs, steps, periods, noise, and anything.
fn any_numbers() -> impl Strategy<Value = Vec<u64>> {
    let count = 0usize..300;
    prop_oneof![
        (any::<u64>(), count.clone()).prop_map(|(n, count)| vec![n; count]),
        (any::<u64>(), any::<u64>(), count.clone()).prop_map(|(n, step, count)| (0..count as u64)
            .map(|at| n.wrapping_add(at * (step % 9)))
            .collect()),
        prop::collection::vec(0u64..5, count.clone()),
        prop::collection::vec(0u64..1 << 20, count.clone()),
        prop::collection::vec(any::<u64>(), count),
    ]
}

proptest! {
    #[test]
    fn numbers_round_trip(numbers in any_numbers()) {
        let mut column = Numbers::default();
        numbers.iter().for_each(|n| column.push(*n));
        let mut bytes = Vec::new();
        column.put_column(&mut bytes, 7, &mut Deflater::new());
        let columns = Columns::read(&bytes, INFLATED_MAX).unwrap();
        let mut cursor = columns.numbers(7, "n").unwrap();
        for n in &numbers {
            prop_assert_eq!(cursor.next().unwrap(), *n);
        }
        prop_assert!(cursor.end().is_ok() && columns.end().is_ok());
        prop_assert!(cursor.next().is_err());
    }

    #[test]
    fn numbers_near_others_round_trip(numbers in any_numbers(), bases in any_numbers()) {
        let pairs: Vec<(u64, u64)> = numbers.into_iter().zip(bases).collect();
        let mut column = Numbers::default();
        pairs.iter().for_each(|(n, base)| column.push_near(*n, *base));
        let mut bytes = Vec::new();
        column.put_column(&mut bytes, 7, &mut Deflater::new());
        let columns = Columns::read(&bytes, INFLATED_MAX).unwrap();
        let mut cursor = columns.numbers(7, "n").unwrap();
        for (n, base) in pairs {
            prop_assert_eq!(cursor.next_near(base).unwrap(), n);
        }
        prop_assert!(cursor.end().is_ok());
    }

    #[test]
    fn dictionaries_round_trip(words in prop::collection::vec(prop::collection::vec(0u8..3, 0..4), 0..60)) {
        let mut interner = Interner::default();
        let numbers: Vec<u32> = words.iter().map(|word| interner.number(word)).collect();
        let mut bytes = Vec::new();
        put_bytes_column(&mut bytes, 9, &interner.column(), &mut Deflater::new());
        let columns = Columns::read(&bytes, INFLATED_MAX).unwrap();
        let dictionary = Dictionary::read(&columns.bytes(9, "words").unwrap(), INFLATED_MAX).unwrap();
        for (word, number) in words.iter().zip(&numbers) {
            prop_assert_eq!(dictionary.entry((*number).into()).unwrap(), &word[..]);
        }
        prop_assert!(dictionary.entry(words.len() as u64).is_err());
    }

    #[test]
    fn any_bytes_are_columns_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(columns) = Columns::read(&bytes, INFLATED_MAX) {
            for id in 0..=255 {
                if let Ok(mut cursor) = columns.numbers(id, "n") {
                    (0..1_000).take_while(|_| cursor.next().is_ok()).for_each(drop);
                }
                if let Ok(bytes) = columns.bytes(id, "b") {
                    let _ = Dictionary::read(&bytes, 64);
                }
            }
        }
    }
}

#[track_caller]
fn check_refused(bytes: &[u8], problem: &str) {
    let error = Columns::read(bytes, INFLATED_MAX).err();
    assert!(error.as_ref().is_some_and(|error| error.to_string().contains(problem)), "{error:?}");
}

#[test]
fn a_block_does_not_inflate_beyond_its_budget() {
    let mut bytes = Vec::new();
    put_bytes_column(&mut bytes, 1, &vec![0; INFLATED_MAX], &mut Deflater::new());
    assert!(bytes.len() < 2_000);
    assert!(Columns::read(&bytes, INFLATED_MAX).is_ok());
    assert!(matches!(Columns::read(&bytes, INFLATED_MAX - 1), Err(ColumnError::TooLong { .. })));
}

#[test]
fn a_length_that_no_block_has_is_refused_before_it_is_allocated() {
    let mut bytes = vec![1, BYTES];
    put_varint(&mut bytes, (INFLATED_MAX as u64) * 2 + 1);
    bytes.extend([2, 3, 0]);
    check_refused(&bytes, "too short for its length");
}

#[test]
fn directories_that_no_writer_makes_are_refused() {
    check_refused(&[7, RUNS, 4, 1, 1, 7, RUNS, 4, 1, 1], "out of order");
    check_refused(&[7, PLANES, 0, 2, 1], "width");
    check_refused(&[7, PLANES, 9, 2, 1], "width");
    check_refused(&[7, PLANES, 2, 2, 1, 4, 1, 1], "different lengths");
    check_refused(&[7, RUNS, 9], "ends early");
    check_refused(&[7, RUNS, 9, 1, 0], "does not inflate to its length");
}

#[test]
fn a_column_is_read_in_its_own_kind_to_its_end() {
    let bytes = [7, RUNS, 4, 1, 0, 8, 9, 4, 1, 1];
    let columns = Columns::read(&bytes, INFLATED_MAX).unwrap();
    assert!(columns.numbers(7, "n").unwrap().next().is_err(), "a run of nothing");
    assert!(columns.end().is_err(), "a column that nobody asked for");
    assert!(columns.numbers(8, "n").is_err() && columns.bytes(8, "b").is_err());
    assert!(columns.numbers(3, "n").unwrap().next().is_err(), "an absent column is empty");
}
