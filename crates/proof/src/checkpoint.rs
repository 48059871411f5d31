//! C2SP's `tlog-checkpoint`: a tree head as a signed note.

use std::fmt;
use std::str::FromStr;

use logline_span::SigningKey;

use crate::line::decimal;
use crate::note::{self, KeyName, Note, SignatureLine, Text, Untrusted, Verified, VerifierKey};
use crate::tree::TreeHead;

/// Why a text is no checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a signed note.
    #[error("checkpoint is not a signed note")]
    Note(#[from] note::Error),
    /// The first line is empty or holds a control character.
    #[error("checkpoint has no origin")]
    Origin,
    /// The second line is no number from 0 to 2^63-1 in its shortest form.
    #[error("checkpoint has no tree size")]
    Size,
    /// The third line is not the base64 of 32 bytes.
    #[error("checkpoint has no root")]
    Root,
    /// A line after these is empty.
    #[error("checkpoint has an empty extension line")]
    Extension,
}

/// Which log it is: `<log>/<tenant>` for ours, which is also the name of its key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(String);

impl Origin {
    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<KeyName> for Origin {
    fn from(name: KeyName) -> Self {
        Self(name.as_str().to_owned())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Origin {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.is_empty() || text.contains(|c: char| c < ' ') {
            return Err(Error::Origin);
        }
        Ok(Self(text.to_owned()))
    }
}

/// What a log says its tree is; its text form is what is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log it is.
    pub origin: Origin,
    /// Its tree.
    pub head: TreeHead,
    /// More lines, which ours never have, each with its line feed.
    extensions: String,
}

impl Checkpoint {
    /// A checkpoint without extension lines.
    pub const fn new(origin: Origin, head: TreeHead) -> Self {
        let extensions = String::new();
        Self {
            origin,
            head,
            extensions,
        }
    }

    /// What others have added after the root; no monitor can audit it.
    pub fn extensions(&self) -> impl Iterator<Item = &str> {
        self.extensions.lines()
    }

    /// Signs it as its log: the name of the key is the origin.
    pub fn sign(self, key: &SigningKey) -> Result<SignedCheckpoint, Error> {
        let text: Text = self.to_string().parse()?;
        let name: KeyName = self.origin.as_str().parse()?;
        let signature = SignatureLine::sign(&text, &name, key);
        Ok(SignedCheckpoint {
            checkpoint: self,
            note: Note::new(text, signature),
        })
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TreeHead { size, root } = self.head;
        write!(f, "{}\n{size}\n{root}\n{}", self.origin, self.extensions)
    }
}

impl FromStr for Checkpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text: Text = text.parse()?;
        let (origin, rest) = text.as_str().split_once('\n').ok_or(Error::Origin)?;
        let (size, rest) = rest.split_once('\n').ok_or(Error::Size)?;
        let (root, extensions) = rest.split_once('\n').ok_or(Error::Root)?;
        if extensions.split_terminator('\n').any(str::is_empty) {
            return Err(Error::Extension);
        }
        Ok(Self {
            origin: origin.parse()?,
            head: TreeHead {
                size: decimal(size).ok_or(Error::Size)?,
                root: root.parse().map_err(|_| Error::Root)?,
            },
            extensions: extensions.to_owned(),
        })
    }
}

/// A checkpoint with at least one signature, which may be anybody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// INVARIANT (one text): what this prints is the note's text.
    checkpoint: Checkpoint,
    note: Note,
}

impl SignedCheckpoint {
    /// What it says; not to be believed before [`Self::verify`].
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The note that it is.
    pub const fn note(&self) -> &Note {
        &self.note
    }

    /// Adds a signature in place of an earlier one that names the same key.
    pub fn add(&mut self, signature: SignatureLine) -> Result<(), note::Error> {
        self.note.add(signature)
    }

    /// Which of these keys have signed it, as [`Note::verify`] says.
    pub fn verify<'k>(&self, keys: &'k [VerifierKey]) -> Result<Vec<Verified<'k>>, Untrusted> {
        self.note.verify(keys)
    }
}

impl fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.note.fmt(f)
    }
}

impl FromStr for SignedCheckpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let note: Note = text.parse()?;
        Ok(Self {
            checkpoint: note.text().as_str().parse()?,
            note,
        })
    }
}
