use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use imago::file::File;
use imago::qcow2::Qcow2;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder, Storage, StorageOpenOptions};

use super::{Layer, LayerError, OpenLayer, check, create, flatten, merge, merge_all, open};

const MIB: u64 = 1024 * 1024;
const SIZE: u64 = 8 * MIB;

fn go_on(_: u64, _: u64) -> std::ops::ControlFlow<()> {
    ControlFlow::Continue(())
}

/// A folder with layers, and what each is expected to show.
struct Disk {
    folder: tempfile::TempDir,
    layers: Vec<Layer>,
    content: Vec<u8>,
}

impl Disk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("base");
        let content: Vec<u8> = (0..SIZE).map(|at| (at / 4099) as u8).collect();
        fs::write(&base, &content).unwrap();
        Self {
            folder,
            layers: vec![Layer::raw(&base)],
            content,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A layer on top in which pieces are written, or made zero.
    fn add(&mut self, pieces: &[(u64, u64, Option<u8>)]) {
        let path = self.path(&format!("{}.qcow2", self.layers.len()));
        create(&path, SIZE).unwrap();
        let file = File::open(StorageOpenOptions::new().write(true).filename(&path)).unwrap();
        let image = Qcow2::<File, OpenLayer>::builder(file)
            .write(true)
            .backing(Some(self.opened()))
            .open(DenyImplicitOpenGate::default())
            .unwrap();
        let image = FormatAccess::new(image);
        for &(at, length, byte) in pieces {
            let range = at as usize..(at + length) as usize;
            self.content[range].fill(byte.unwrap_or(0));
            match byte {
                Some(byte) => image.write(&vec![byte; length as usize], at).unwrap(),
                None => image.write_zeroes(at, length).unwrap(),
            }
        }
        image.flush().unwrap();
        self.layers.push(Layer::qcow2(&path));
    }

    fn opened(&self) -> OpenLayer {
        let mut top = None;
        for layer in &self.layers {
            top = Some(open(layer, top).unwrap());
        }
        top.unwrap()
    }

    /// What the layers show, read in another way than they are copied.
    fn shows(&self) -> Vec<u8> {
        let mut shown = vec![0; SIZE as usize];
        self.opened().read(&mut shown[..], 0).unwrap();
        shown
    }

    fn flat(&self) -> (Vec<u8>, u64) {
        let path = self.path("flat");
        let file = fs::File::create(&path).unwrap();
        let length = flatten(&self.layers, &file, &path, &mut go_on).unwrap();
        assert_eq!(length, SIZE);
        let blocks = fs::metadata(&path).unwrap().blocks() * 512;
        (fs::read(&path).unwrap(), blocks)
    }
}

fn three_layers() -> Disk {
    let mut disk = Disk::new();
    // Neither begins nor ends with a cluster.
    disk.add(&[(100, 70_000, Some(1)), (2 * MIB, MIB, Some(2))]);
    disk.add(&[(2 * MIB + 5, 1000, Some(3)), (4 * MIB, MIB, None)]);
    disk.add(&[(4 * MIB + 77, 100_000, Some(4)), (2 * MIB, 70_000, None)]);
    disk
}

#[test]
fn one_image_shows_what_all_layers_show() {
    let disk = three_layers();
    assert!(disk.shows() == disk.content);
    assert!(disk.flat().0 == disk.content);
}

#[test]
fn zeros_and_holes_take_no_space() {
    let mut disk = Disk::new();
    let base = fs::File::create(disk.path("base")).unwrap();
    base.set_len(SIZE).unwrap();
    disk.content.fill(0);
    disk.add(&[(MIB, 4 * MIB, Some(0)), (6 * MIB, 4096, Some(9))]);
    let (content, blocks) = disk.flat();
    assert!(content == disk.content);
    assert!(blocks <= 64 * 1024, "{blocks} bytes are in use");
}

#[test]
fn a_merged_layer_shows_what_both_showed() {
    for lower in 1..3 {
        let mut disk = three_layers();
        let merged = disk.path("merged");
        let (one, two) = (&disk.layers[lower], &disk.layers[lower + 1]);
        let before = [fs::read(&one.path).unwrap(), fs::read(&two.path).unwrap()];
        merge(one, two, &merged, &mut go_on).unwrap();
        let after = [fs::read(&one.path).unwrap(), fs::read(&two.path).unwrap()];
        assert!(before == after, "the old ones were changed");
        disk.layers
            .splice(lower..lower + 2, [Layer::qcow2(&merged)]);
        assert!(disk.shows() == disk.content, "{lower}");
    }
}

#[test]
fn one_layer_shows_what_any_number_showed() {
    let mut disk = three_layers();
    let merged = disk.path("merged");
    merge_all(&disk.layers[1..], &merged, &mut go_on).unwrap();
    disk.layers.splice(1.., [Layer::qcow2(&merged)]);
    assert_eq!(disk.layers.len(), 2);
    assert!(disk.shows() == disk.content);
}

#[test]
fn work_that_nobody_waits_for_ends() {
    let disk = three_layers();
    let path = disk.path("flat");
    let file = fs::File::create(&path).unwrap();
    let mut pieces = 0;
    let mut stop = |_, _| {
        pieces += 1;
        match pieces {
            1..3 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    };
    let flat = flatten(&disk.layers, &file, &path, &mut stop);
    assert!(matches!(flat, Err(LayerError::Cancelled)));
}

#[test]
fn damaged_layers_are_told_and_end() {
    let disk = three_layers();
    let path = disk.layers[2].path.clone();
    let sound = fs::read(&path).unwrap();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..300 {
        let mut bytes = sound.clone();
        for _ in 0..8 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // Mostly in the header and in the tables, which is where it hurts.
            let place = match round % 3 {
                0 => random % 104,
                1 => random % (5 * 65536),
                _ => random % bytes.len() as u64,
            };
            bytes[place as usize] = (random >> 32) as u8;
        }
        if round % 5 == 0 {
            bytes.truncate((random % sound.len() as u64) as usize);
        }
        fs::write(&path, &bytes).unwrap();
        let to = disk.path("to");
        let file = fs::File::create(&to).unwrap();
        let mut steps = 0_u32;
        // It answers or refuses, in so many steps as a disk of this size can have at most.
        let mut bounded = |_, size| {
            steps += 1;
            assert!(u64::from(steps) <= 2 * size / 512, "without end");
            // What such a layer says its size is need not be written.
            match size > 64 * SIZE || steps > 2000 {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        let _ = flatten(&disk.layers, &file, &to, &mut bounded);
        let merged = disk.path(&format!("merged-{round}"));
        let mut steps = 0;
        let mut bounded = |_, size| {
            steps += 1;
            match size > 64 * SIZE || steps > 2000 {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        let _ = merge(&disk.layers[1], &disk.layers[2], &merged, &mut bounded);
        let _ = fs::remove_file(merged);
    }
}

#[test]
fn a_file_that_was_cut_off_is_told() {
    let disk = three_layers();
    check(&disk.layers).unwrap();
    let path = disk.layers[2].path.clone();
    let sound = fs::read(&path).unwrap();
    for part in [1, 2, 4, 6] {
        fs::write(&path, &sound[..sound.len() * part / 8]).unwrap();
        assert!(check(&disk.layers).is_err(), "{part} of 8 parts");
    }
    fs::write(&path, "").unwrap();
    assert!(check(&disk.layers).is_err());
}
