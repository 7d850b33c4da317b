//! Every column comes back to the bit, at the size it should have.

use super::*;
use crate::base::rng::Rng;
use crate::codec::Effort;
use crate::model::sample::STALE_NAN;

#[track_caller]
fn check(values: &[f64], at_most: usize) {
    let mut bytes = Vec::new();
    encode(values, &mut bytes);
    assert!(bytes.len() <= at_most, "{} bytes for {} values", bytes.len(), values.len());
    assert_eq!(bytes.len(), estimate(values));
    let same = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
    let mut back = vec![1.0];
    decode(&bytes, &mut back).unwrap();
    assert!(same(&back[1..], values));
    let mut small = Vec::new();
    encode_with(values, Effort::Small, &mut small);
    assert!(small.len() <= bytes.len());
    back.clear();
    decode(&small, &mut back).unwrap();
    assert!(same(&back, values));
    let column = Column::parse(if values.len().is_multiple_of(2) { &small } else { &bytes }).unwrap();
    let n = values.len();
    for (from, to) in [(0, 1), (n / 3, n / 2), (n.saturating_sub(60), n), (255, 257), (256, 512), (n, n + 5)] {
        let mut part = Vec::new();
        column.decode_range(from, to, &mut part).unwrap();
        assert!(same(&part, values.get(from.min(n)..to.min(n).max(from.min(n))).unwrap()), "{from}..{to}");
    }
}

#[test]
fn constants_take_a_few_bytes() {
    check(&[], 1);
    check(&[1.0; 7200], 5);
    check(&[0.25; 3], 5);
    check(&[8_589_934_592.0; 60_000], 11);
    check(&[STALE_NAN; 300], 11);
    check(&[-0.0; 300], 11);
}

#[test]
fn printed_decimals_take_bits() {
    check(&(0..3600).map(|i| f64::from(i % 4) / 100.0).collect::<Vec<_>>(), 1_100);
    check(&(0..3600).map(|i| 1e6 + f64::from(i * 50) / 100.0).collect::<Vec<_>>(), 200);
    let mut cpu: Vec<f64> = (0..300).map(|i| f64::from(i) / 100.0).collect();
    cpu[40] = f64::NAN;
    cpu[299] = STALE_NAN;
    check(&cpu, 90);
    cpu.truncate(257);
    cpu[256] = STALE_NAN;
    check(&cpu, 90);
}

#[test]
fn repeated_odd_values_go_by_a_dictionary_and_noise_stays_raw() {
    let thirds: Vec<f64> = (0..2000).map(|i| f64::from(i * i % 7) / 3.0).collect();
    check(&thirds, 900);
    let rng = Rng::from_seed(5);
    let noise: Vec<f64> = (0..1000).map(|_| f64::from_bits(rng.next_u64())).collect();
    check(&noise, 8_010);
    check(&(0..1000).map(|i| f64::from(i).sqrt()).collect::<Vec<_>>(), 7_000);
}

#[test]
fn every_mixture_comes_back_to_the_bit() {
    let rng = Rng::from_seed(6);
    let odd = [f64::NAN, STALE_NAN, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, f64::MAX, 0.1 + 0.2];
    for round in 0..400 {
        let n = [1, 2, 3, 60, 120, 255, 256, 257, 512, 1000][rng.below(10) as usize];
        let (scale, rarity) = ([1.0, 10.0, 100.0, 1000.0, 1e9][rng.below(5) as usize], 1 + rng.below(100));
        let mut x = 0i64;
        let values: Vec<f64> = (0..n)
            .map(|_| match round % 4 {
                _ if rng.below(rarity) == 0 => odd[rng.below(8) as usize],
                0 => f64::from_bits(rng.next_u64()),
                1 => rng.below(5) as f64 / 3.0,
                _ => {
                    x += rng.below(300) as i64 - 100;
                    x as f64 / scale
                }
            })
            .collect();
        check(&values, n * 8 + 8);
    }
}

#[test]
fn damage_gives_an_error_or_other_values_but_no_panic() {
    let rng = Rng::from_seed(7);
    let columns: [Vec<f64>; 4] = [
        (0..700).map(|i| if i == 9 { f64::NAN } else { f64::from(i % 50) / 10.0 }).collect(),
        (0..700).map(|i| f64::from(i % 7) / 3.0).collect(),
        (0..300).map(|i| f64::from(i).sqrt()).collect(),
        vec![4.0; 700],
    ];
    for values in columns {
        let mut good = Vec::new();
        encode(&values, &mut good);
        let mut packed = vec![0x80 | values.len() as u8 & 0x7f, (values.len() >> 7) as u8];
        packed.extend(encode::pack(&values, good.get(2..).unwrap()).unwrap());
        for round in 0..5_000 {
            let good = if round % 2 == 0 { &good } else { &packed };
            let mut bytes = good.clone();
            for _ in 0..=rng.below(3) {
                let at = rng.below(bytes.len().min(40) as u64) as usize;
                bytes[at] = rng.next_u64() as u8;
            }
            bytes.truncate(rng.below(bytes.len() as u64 * 4) as usize + 1);
            let mut out = Vec::new();
            let _ = decode(&bytes, &mut out);
            assert!(out.capacity() <= SAMPLES_MAX * 2);
        }
    }
}
