//! A small cache of verified blocks, bounded in bytes.

use std::collections::HashMap;

/// What was used lately stays: two generations, of which the older is let go of when the younger is full.
pub(super) struct Cache<T> {
    young: HashMap<(u32, u32), T>,
    old: HashMap<(u32, u32), T>,
    young_bytes: usize,
    most_bytes: usize,
}

impl<T: Clone> Cache<T> {
    /// A cache of about so many bytes.
    pub(super) fn new(most_bytes: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), young_bytes: 0, most_bytes }
    }

    pub(super) fn get(&mut self, key: (u32, u32), size: impl Fn(&T) -> usize) -> Option<T> {
        if let Some(found) = self.young.get(&key) {
            return Some(found.clone());
        }
        let found = self.old.remove(&key)?;
        self.put(key, found.clone(), size(&found));
        Some(found)
    }

    pub(super) fn put(&mut self, key: (u32, u32), value: T, bytes: usize) {
        if self.young_bytes + bytes > self.most_bytes / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += bytes;
        self.young.insert(key, value);
    }

    /// At most so many bytes are held.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.young_bytes + if self.old.is_empty() { 0 } else { self.most_bytes / 2 }
    }
}
