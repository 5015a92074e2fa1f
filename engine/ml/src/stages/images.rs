//! The images of a set stage's records: prepared when a training step needs them, and kept in memory while there is room.
//! A prepared image takes 24 bytes a pixel, so those of a whole data set rarely fit.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use ruminate_flow::record::Record;
use ruminate_flow::stage::Blobs;

use super::prompting::{Prompting, unusable};
use crate::chat::Processor;
use crate::error::{Error, Result};
use crate::types::{ImagePatches, ImageSource};

/// Bytes of prepared images that are kept.
const ROOM: usize = 512 << 20;

type Images = Vec<Arc<ImagePatches>>;

/// The images of records by the records' index.
pub(super) struct RecordImages<'a> {
    records: &'a [Record],
    prompting: &'a Prompting,
    processor: &'a Processor,
    blobs: &'a dyn Blobs,
    kept: RefCell<Kept>,
}

struct Kept {
    images: HashMap<usize, Images>,
    room: usize,
}

impl<'a> RecordImages<'a> {
    pub(super) fn new(
        records: &'a [Record],
        prompting: &'a Prompting,
        processor: &'a Processor,
        blobs: &'a dyn Blobs,
    ) -> Self {
        Self { records, prompting, processor, blobs, kept: RefCell::new(Kept { images: HashMap::new(), room: ROOM }) }
    }

    /// Keeps the images of record `index` if there is room. What is kept stays: training comes round to every record.
    pub(super) fn keep(&self, index: usize, images: Images) {
        let bytes: usize = images.iter().map(|image| size_of_val(image.pixels.as_slice())).sum();
        let mut kept = self.kept.borrow_mut();
        if bytes <= kept.room {
            kept.room -= bytes;
            kept.images.insert(index, images);
        }
    }
}

impl ImageSource for RecordImages<'_> {
    fn images(&self, index: usize) -> Result<Images> {
        if let Some(images) = self.kept.borrow().images.get(&index) {
            return Ok(images.clone());
        }
        let Some(record) = self.records.get(index) else { return Ok(Images::new()) };
        self.prompting
            .images(record, self.processor, self.blobs)
            .map_err(|reason| Error::input(unusable(record, reason).to_string()))
    }
}
