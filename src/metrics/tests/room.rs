//! What happens when the disk gets short, and that a limit of size is kept.

use std::path::Path;

use super::*;
use crate::base::disk::{Crash, Faults, SimDisk};
use crate::metrics::config;

const FOLDER: &str = "/data/store";

fn opened(disk: &Disk, clock: &Clock, change: impl FnOnce(&mut Config)) -> Arc<Store> {
    let seams = Seams { clock: clock.clone(), disk: disk.clone(), rng: Rng::from_seed(1), tasks: Tasks::default() };
    let mut config = Config { dedup_interval_ms: 0, retention_ms: None, ..Config::default() };
    change(&mut config);
    Store::open(config, Path::new(FOLDER), seams).unwrap()
}

fn send(store: &Store, series: usize, time: i64) -> Result<(), String> {
    let mut appender = store.appender(Origin::new("test"));
    for number in 0..series {
        // Noise, so that no codec makes it small.
        let noise = xxhash_rust::xxh3::xxh3_64(&[number as u64, time as u64].map(u64::to_le_bytes).concat());
        let value = (noise >> 16) as f64;
        let labels = up(&format!("job-{number}"));
        appender.sample(labels.as_encoded(), time, 0, value).map_err(|refusal| refusal.to_string())?;
    }
    appender.commit().wait().map(|_| ()).map_err(|error| error.to_string())
}

fn capacity(hand: &SimDisk, bytes: u64) {
    hand.set_faults(Faults { capacity: Some(bytes), ..Faults::default() });
}

#[test]
fn a_disk_that_others_fill_makes_it_read_only_until_there_is_room() {
    let (disk, hand) = Disk::simulated(Rng::from_seed(1));
    let (clock, _) = Clock::simulated(NOW);
    capacity(&hand, 1 << 20);
    let store = opened(&disk, &clock, |_| {});
    store.maintain();
    let room = store.room();
    assert_eq!((room.free_min, room.reserve), ((1 << 20) / 50, (1 << 20) / 50), "a fiftieth of a small disk");
    send(&store, 10, NOW).unwrap();
    // Somebody else takes all but a little.
    let other = Path::new("/other");
    disk.create_dir_all(other).unwrap();
    let file = disk.create_new(&other.join("file")).unwrap();
    file.write_at(&vec![1; (1 << 20) - hand.used() as usize - 1_000], 0).unwrap();
    file.sync().unwrap();
    disk.sync_dir(other).unwrap();
    store.maintain();
    let refused = send(&store, 10, NOW + 1_000).unwrap_err();
    assert!(refused.contains("read-only: the file system of /data/store has 1000 bytes free"), "{refused}");
    assert_eq!(store.select(&[], NOW, NOW).len(), 10, "reading goes on");
    drop(store);
    hand.restart(Crash::Power);
    capacity(&hand, 1 << 20);
    let store = opened(&disk, &clock, |_| {});
    assert!(store.read_only().is_some(), "it starts read-only while full");
    assert_eq!(store.select(&[], NOW, NOW).len(), 10);
    disk.remove(&other.join("file")).unwrap();
    store.maintain();
    assert_eq!(store.read_only(), None);
    send(&store, 10, NOW + 1_000).unwrap();
}

#[test]
fn the_reserve_lets_a_full_disk_finish_what_makes_room() {
    let (disk, hand) = Disk::simulated(Rng::from_seed(1));
    let (clock, _) = Clock::simulated(NOW);
    capacity(&hand, 4 << 20);
    let store = opened(&disk, &clock, |_| {});
    for at in 0..600 {
        send(&store, 20, NOW + at * 1_000).unwrap();
    }
    store.maintain();
    assert!(store.room().reserve > 0);
    capacity(&hand, hand.used());
    let before = hand.used();
    store.snapshot().unwrap();
    let room = store.room();
    assert_eq!((room.reserve, room.reserve_released), (0, 1));
    assert!(hand.used() < before / 2, "{} of {before} bytes are left", hand.used());
    capacity(&hand, 4 << 20);
    store.maintain();
    assert!(store.room().reserve > 0, "it is made again when there is room");
    drop(store);
    assert_eq!(opened(&disk, &clock, |_| {}).select(&[], i64::MIN, i64::MAX).len(), 20);
}

#[test]
fn a_limit_of_size_is_never_exceeded_and_the_oldest_goes_first() {
    let (disk, hand) = Disk::simulated(Rng::from_seed(1));
    let (clock, time) = Clock::simulated(NOW);
    let max = 400_000;
    let store = opened(&disk, &clock, |config| {
        config.disk.size_max = Some(max);
        config.wal.segment_bytes_max = 8_000;
    });
    let step = 10_000;
    let (mut sent, mut most) = (0, 0);
    for at in 0..4_000_i64 {
        time.advance(std::time::Duration::from_millis(step as u64));
        sent += usize::from(send(&store, 30, NOW + at * step).is_ok());
        store.maintain();
        let files = || ["blocks", "wal"].map(|name| disk.list(&Path::new(FOLDER).join(name)).unwrap());
        assert!(hand.used() <= max, "{} bytes after {at} requests: {:#?}", hand.used(), files());
        // Blocks go as a whole, so what is used falls and rises.
        most = most.max(if at >= 3_000 { hand.used() } else { 0 });
    }
    assert!(sent > 3_950, "only {sent} requests were taken");
    let newest = NOW + 3_999 * step;
    let found = store.select(&[], i64::MIN, i64::MAX);
    let mut column = Column::default();
    found.read(0, &mut column).unwrap();
    assert!(column.times[0] > NOW + 100 * step, "the oldest are gone: {}", column.times[0]);
    assert_eq!(column.times.last(), Some(&newest));
    let held = column.times.windows(2).filter(|pair| pair[1] - pair[0] > step).count();
    assert!(held <= 50, "what is kept has no holes: {held}");
    assert!(most > max / 2, "and the room is used: {most} bytes");
}

#[test]
fn a_limit_of_size_may_be_a_part_of_the_file_system() {
    let (disk, hand) = Disk::simulated(Rng::from_seed(1));
    let (clock, time) = Clock::simulated(NOW);
    capacity(&hand, 2_000_000);
    let store = opened(&disk, &clock, |config| {
        config.disk.size_percentage = 20.0;
        config.wal.segment_bytes_max = 8_000;
    });
    assert_eq!(store.room().size_max, 400_000);
    let mut sent = 0;
    for at in 0..1_000_i64 {
        time.advance(std::time::Duration::from_secs(30));
        sent += usize::from(send(&store, 30, NOW + at * 30_000).is_ok());
        store.maintain();
        assert!(hand.used() <= 400_000, "{} bytes after {at} requests", hand.used());
    }
    assert!(sent > 950 && hand.used() > 200_000, "{sent} requests, {} bytes", hand.used());
    let both = |size: u64| {
        let (disk, hand) = Disk::simulated(Rng::from_seed(1));
        capacity(&hand, 2_000_000);
        opened(&disk, &clock, |config| {
            config.disk = config::DiskLimits { size_max: Some(size), size_percentage: 20.0, ..config.disk };
        })
        .room()
        .size_max
    };
    assert_eq!((both(300_000), both(500_000)), (300_000, 400_000), "the lower of both holds");
}

#[test]
fn new_series_are_counted_by_the_minute() {
    let (disk, _) = Disk::simulated(Rng::from_seed(1));
    let (clock, time) = Clock::simulated(NOW);
    let store = opened(&disk, &clock, |config| config.limits.series_new_per_minute_max = 5);
    send(&store, 5, NOW).unwrap();
    assert_eq!(send(&store, 6, NOW + 1_000).unwrap_err(), "limit of 5 new series a minute reached");
    send(&store, 5, NOW + 2_000).unwrap();
    time.advance(std::time::Duration::from_secs(60));
    send(&store, 10, NOW + 3_000).unwrap();
    let at = Refusal::REASONS.iter().position(|reason| *reason == "series_rate_limit").unwrap();
    assert_eq!(store.totals().refused[at], 1);
}

#[test]
fn series_get_no_more_memory_than_the_head_is_meant_to_have() {
    let (disk, _) = Disk::simulated(Rng::from_seed(1));
    let (clock, _) = Clock::simulated(NOW);
    let store = opened(&disk, &clock, |config| config.memory_bytes_max = 100_000);
    let refused = send(&store, 1_000, NOW).unwrap_err();
    assert!(refused.starts_with("the memory for series is used up"), "{refused}");
    let series = store.totals().series;
    assert!((100..300).contains(&series), "{series}");
    store.press(true, Some("memory is short".to_owned()));
    assert_eq!(send(&store, 1, NOW + 1_000).unwrap_err(), "the store is read-only: memory is short");
    store.press(false, None);
    send(&store, 1, NOW + 1_000).unwrap();
}
