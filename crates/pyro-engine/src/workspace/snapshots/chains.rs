//! Which layers belong to what: the disk that is in use, the baseline, the snapshots. All chains
//! begin with the baseline's layers, and together they are a tree.

use crate::machine::facts::TREE;
use crate::store::{StoredSnapshot, StoredWorkspace};

impl StoredWorkspace {
    /// The layers of the first state, bottom first.
    pub(crate) fn baseline(&self) -> &[String] {
        let count = self.baseline_layers.min(self.layers.len());
        &self.layers[..count]
    }

    /// Whether the layers are folders, for gVisor.
    pub(crate) fn is_on_folders(&self) -> bool {
        self.record.metadata.contains_key(TREE)
    }

    pub(crate) fn snapshot(&self, name: &str) -> Option<&StoredSnapshot> {
        self.snapshots.iter().find(|known| known.name == name)
    }

    /// Whether a state that counts has this layer in its disk.
    pub(crate) fn needs_layer(&self, name: &str) -> bool {
        self.chains()
            .any(|chain| chain.iter().any(|layer| layer == name))
    }

    /// The same of a copy of files.
    pub(crate) fn needs_tree(&self, name: &str) -> bool {
        self.snapshots
            .iter()
            .any(|snapshot| snapshot.tree.as_deref() == Some(name))
    }

    /// Layers that are nobody's last, with the only one that stands on each: two that could be
    /// one.
    pub(crate) fn mergeable(&self) -> Vec<(String, String)> {
        let is_last = |layer: &String| self.chains().any(|chain| chain.last() == Some(layer));
        let mut pairs: Vec<(String, String)> = Vec::new();
        for chain in self.chains() {
            for pair in chain.windows(2).skip(self.baseline().len()) {
                let [lower, upper] = pair else { continue };
                let pair = (lower.clone(), upper.clone());
                if is_last(lower) || pairs.contains(&pair) {
                    continue;
                }
                let alone = self.chains().all(|chain| {
                    let mut on_it = chain.windows(2).filter(|pair| pair[0] == *lower);
                    on_it.all(|pair| pair[1] == *upper)
                });
                if alone {
                    pairs.push(pair);
                }
            }
        }
        pairs
    }

    /// Puts one layer in the place of two, wherever they are.
    pub(crate) fn replace(&mut self, lower: &str, upper: &str, with: &str) {
        let snapshots = self.snapshots.iter_mut().map(|known| &mut known.layers);
        for chain in std::iter::once(&mut self.layers).chain(snapshots) {
            let Some(at) = chain
                .windows(2)
                .position(|pair| pair[0] == lower && pair[1] == upper)
            else {
                continue;
            };
            chain.splice(at..at + 2, [with.to_owned()]);
        }
    }

    /// Takes over what a running VM has for a disk: layers that have moved into the one above them
    /// are gone from it. What it has not on top is left alone, as it may come to that still.
    /// Whether anything was different.
    pub(crate) fn adopt(&mut self, actual: &[String]) -> bool {
        let mut changed = false;
        while let Some((lower, upper)) = self.moved(actual) {
            self.replace(&lower, &upper, &upper);
            changed = true;
        }
        changed
    }

    fn moved(&self, actual: &[String]) -> Option<(String, String)> {
        let above_baseline = self.layers.windows(2).skip(self.baseline().len());
        above_baseline
            .map(|pair| (&pair[0], &pair[1]))
            .find(|(lower, upper)| !actual.contains(lower) && actual.contains(upper))
            .map(|(lower, upper)| (lower.clone(), upper.clone()))
    }

    fn chains(&self) -> impl Iterator<Item = &[String]> {
        let snapshots = self.snapshots.iter().map(|known| known.layers.as_slice());
        std::iter::once(self.layers.as_slice()).chain(snapshots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(letters: &str) -> Vec<String> {
        letters.chars().map(String::from).collect()
    }

    /// A workspace whose baseline is the one layer `b`.
    fn workspace(current: &str, snapshots: &[&str]) -> StoredWorkspace {
        let snapshots = snapshots.iter().map(|letters| StoredSnapshot {
            name: (*letters).to_owned(),
            created_at: 0.0,
            entry_count: 0,
            bytes_written: 0,
            layers: chain(letters),
            tree: None,
        });
        StoredWorkspace {
            layers: chain(current),
            snapshots: snapshots.collect(),
            ..crate::store::testing::workspace()
        }
    }

    fn pairs(workspace: &StoredWorkspace) -> Vec<String> {
        let pairs = workspace.mergeable();
        pairs.into_iter().map(|(a, b)| a + &b).collect()
    }

    #[test]
    fn what_is_needed_is_what_any_state_has() {
        let workspace = workspace("bcd", &["be", "bef"]);
        for layer in ["b", "c", "d", "e", "f"] {
            assert!(workspace.needs_layer(layer), "{layer}");
        }
        assert!(!workspace.needs_layer("g"));
    }

    #[test]
    fn a_layer_is_superfluous_when_one_alone_stands_on_it() {
        for (current, snapshots, wanted) in [
            // Nothing was deleted yet.
            ("bw", vec![], vec![]),
            ("bcdw", vec!["bc", "bcd"], vec![]),
            // The snapshot between is gone, then the first, then both.
            ("bcdw", vec!["bc"], vec!["dw"]),
            ("bcdw", vec!["bcd"], vec!["cd"]),
            ("bcdw", vec![], vec!["cd", "dw"]),
            // Two go on from the same layer.
            ("bcw", vec!["bcx"], vec![]),
            ("bcw", vec!["bcxy"], vec!["xy"]),
            // The baseline stays whatever stands on it.
            ("bw", vec!["bx"], vec![]),
        ] {
            assert_eq!(
                pairs(&workspace(current, &snapshots)),
                wanted,
                "{current} {snapshots:?}"
            );
        }
    }

    #[test]
    fn one_layer_takes_the_place_of_two_wherever_they_are() {
        let mut one = workspace("bcdw", &["bcd", "bcdx"]);
        one.replace("c", "d", "m");
        assert_eq!(one.layers, chain("bmw"));
        assert_eq!(one.snapshots[0].layers, chain("bm"));
        assert_eq!(one.snapshots[1].layers, chain("bmx"));
    }

    #[test]
    fn a_vm_tells_what_has_moved_and_what_was_never_added() {
        let mut one = workspace("bcdw", &["bcd"]);
        assert!(one.adopt(&chain("bdw")));
        assert_eq!(one.layers, chain("bdw"));
        assert_eq!(one.snapshots[0].layers, chain("bd"));
        // `w` may yet be put on top, by one who was killed in the middle.
        assert!(!one.adopt(&chain("bd")));
        assert_eq!(one.layers, chain("bdw"));
        // Nobody believes in a disk without the baseline.
        assert!(!one.adopt(&chain("dw")));
    }
}
