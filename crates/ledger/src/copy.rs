//! COPY's binary form: a header, rows of length-prefixed fields, a trailer.

use bytes::{BufMut, BytesMut};

pub(crate) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
pub(crate) const TRAILER: i16 = -1;
const NULL: i32 = -1;

/// Starts a stream of rows.
pub(crate) fn begin(out: &mut BytesMut) {
    out.put_slice(HEADER);
}

/// Writes the fields of one row.
pub(crate) struct RowWriter<'a> {
    out: &'a mut BytesMut,
}

impl<'a> RowWriter<'a> {
    pub(crate) fn begin(out: &'a mut BytesMut, columns: i16) -> Self {
        out.put_i16(columns);
        Self { out }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        // A field is far below 2 GiB: a whole span is.
        self.out
            .put_i32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
        self.out.put_slice(bytes);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(crate) fn int8(&mut self, value: i64) {
        self.bytes(&value.to_be_bytes());
    }

    pub(crate) fn int4(&mut self, value: i32) {
        self.bytes(&value.to_be_bytes());
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.bytes(&[u8::from(value)]);
    }

    /// Sixteen bytes as 32 hexadecimal digits.
    pub(crate) fn hex(&mut self, bytes: &[u8; 16]) {
        let mut text = [0; 32];
        // The buffer has the one length that this can fail for.
        let _ = hex::encode_to_slice(bytes, &mut text);
        self.bytes(&text);
    }

    pub(crate) fn null(&mut self) {
        self.out.put_i32(NULL);
    }

    pub(crate) fn some<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => write(self, value),
            None => self.null(),
        }
    }

    /// A field whose length is known once it is written.
    pub(crate) fn sized(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let start = self.out.len();
        self.out.put_i32(0);
        write(self.out);
        let length = i32::try_from(self.out.len() - start - 4).unwrap_or(i32::MAX);
        if let Some(prefix) = self.out.get_mut(start..start + 4) {
            prefix.copy_from_slice(&length.to_be_bytes());
        }
    }
}
