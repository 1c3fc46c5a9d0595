//! The inputs of a load: where the bytes come from, and text out of gzip.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Chain, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::read::magic::{self, GZIP_MAGIC, HEAD_BYTES};

/// Decompresses the logs; this line alone chooses what does.
///
/// Decompressing is the largest part of a record's cost, so the decoder is our own. It stays only while it pays: once it
/// is less than 1.15 times as fast as flate2 on these logs, on two kinds of processor, memc-gzip is removed and flate2
/// decompresses (the crate's example `compare` measures it). `flate2::bufread::MultiGzDecoder<R>` fits here and passes
/// all tests but those with zero padding after a member, which it takes for a broken header.
type Gunzip<R> = memc_gzip::GzReader<R>;

/// Compressed bytes are read from the input in pieces of this size.
const READ_BYTES: usize = 128 * 1024;

type Source = Box<dyn Read + Send>;

/// One input of a load: gzip, or plain text where gzip is not [required](Self::require_gzip). The first bytes tell
/// which.
///
/// It is opened when its turn comes, so a long list of inputs holds no descriptors.
///
/// ```
/// use memc_core::Input;
///
/// let file = Input::path("/logs/20170929000000.tsv.gz");
/// assert_eq!(file.name(), "/logs/20170929000000.tsv.gz");
/// let body: &[u8] = b"idfa\te7e1\t67.5\t-22.8\t7942\n";
/// let other = Input::reader("a request's body", body);
/// ```
pub struct Input {
    name: String,
    open: Box<dyn FnMut() -> io::Result<Source> + Send>,
    gzip_only: bool,
}

impl Input {
    /// A file; its path is its name in reports and errors. If that ends in `.gz`, gzip is
    /// [required](Self::require_gzip).
    pub fn path(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref().to_owned();
        let is_gzip = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
        let input = Self::reopenable(path.display().to_string(), move || File::open(&path));
        if is_gzip { input.require_gzip() } else { input }
    }

    /// Anything that can be read, with a name for reports and errors. It can be read only once, so a load
    /// cannot begin it anew when a server is restarted.
    ///
    /// What comes slowly is loaded when there is a chunk of it
    /// ([`Options::chunk_bytes`](crate::Options::chunk_bytes): smaller ones are loaded sooner), or its end. A read
    /// that waits is not ended by [`StopHandle`](crate::StopHandle).
    pub fn reader(name: impl Into<String>, reader: impl Read + Send + 'static) -> Self {
        let mut reader = Some(reader);
        let again = || io::Error::new(io::ErrorKind::Unsupported, "it can be read only once");
        Self::reopenable(name, move || reader.take().ok_or_else(again))
    }

    /// Anything that can be opened again and again, with a name for reports and errors. `open` is called when
    /// the input's turn comes, and once more each time that a load starts it again.
    pub fn reopenable<R: Read + Send + 'static>(
        name: impl Into<String>,
        mut open: impl FnMut() -> io::Result<R> + Send + 'static,
    ) -> Self {
        Self { name: name.into(), open: Box::new(move || Ok(Box::new(open()?))), gzip_only: false }
    }

    /// The same input, which has to be gzip: anything else is an [`Error::Read`](crate::Error::Read) of kind
    /// [`InvalidData`](io::ErrorKind::InvalidData) that says what it looks like; an empty input, or one byte
    /// that gzip may start with, is one of kind [`UnexpectedEof`](io::ErrorKind::UnexpectedEof), as gzip that
    /// ends early is.
    #[must_use]
    pub fn require_gzip(self) -> Self {
        Self { gzip_only: true, ..self }
    }

    /// The name under which the input appears in reports and errors.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Opens the input and reads so much of it as tells whether it is gzip.
    pub(crate) fn open(&mut self) -> io::Result<Plain> {
        Plain::new((self.open)()?, self.gzip_only)
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Input").field("name", &self.name).finish_non_exhaustive()
    }
}

type Raw = BufReader<Chain<Cursor<Vec<u8>>, Counted>>;

/// The plain text of an input, whatever it is packed in.
pub(crate) struct Plain {
    format: Format,
    bytes_read: Arc<AtomicU64>,
}

enum Format {
    Text(Raw),
    Gzip(Box<Gunzip<Raw>>),
}

impl Plain {
    pub(crate) fn new(source: Source, gzip_only: bool) -> io::Result<Self> {
        let bytes_read = Arc::new(AtomicU64::new(0));
        let mut source = Counted { source, bytes_read: Arc::clone(&bytes_read) };
        let mut head = Vec::with_capacity(GZIP_MAGIC.len());
        source.by_ref().take(GZIP_MAGIC.len() as u64).read_to_end(&mut head)?;
        let is_gzip = head == GZIP_MAGIC;
        if gzip_only && !is_gzip {
            source.take(HEAD_BYTES).read_to_end(&mut head)?;
            return Err(magic::not_gzip(&head));
        }
        let raw = BufReader::with_capacity(READ_BYTES, Cursor::new(head).chain(source));
        let format = if is_gzip { Format::Gzip(Box::new(Gunzip::new(raw))) } else { Format::Text(raw) };
        Ok(Self { format, bytes_read })
    }

    /// How many bytes have been taken from the input so far, packed ones if it is gzip.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }
}

impl Read for Plain {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.format {
            Format::Text(raw) => raw.read(buffer),
            Format::Gzip(gunzip) => gunzip.read(buffer),
        }
    }
}

/// Counts the bytes that pass.
struct Counted {
    source: Source,
    bytes_read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // An interrupted read is done again here: what is above would take it for the end of a member's header, or
        // of what follows a member.
        let length = loop {
            match self.source.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.bytes_read.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memc_testkit::gzip;

    fn read(bytes: impl Into<Vec<u8>>) -> io::Result<Vec<u8>> {
        let bytes = bytes.into();
        let length = bytes.len() as u64;
        let mut text = Vec::new();
        let mut plain = Plain::new(Box::new(Cursor::new(bytes)), false)?;
        plain.read_to_end(&mut text)?;
        assert_eq!(plain.bytes_read(), length);
        Ok(text)
    }

    #[test]
    fn what_is_in_an_input_is_told_by_its_first_bytes() -> io::Result<()> {
        let (one, two) = (gzip(b"one\n")?, gzip(b"two\n")?);
        let nothing = gzip(b"")?;
        let zeros = vec![0; 3 * READ_BYTES];
        for (name, packed, text) in [
            ("empty file", vec![], &b""[..]),
            ("plain text", b"one\ntwo\n".to_vec(), b"one\ntwo\n"),
            ("plain text of one byte", b"\x1f".to_vec(), b"\x1f"),
            ("plain text that starts with zeros", b"\0\0one\n".to_vec(), b"\0\0one\n"),
            ("one member", one.clone(), b"one\n"),
            ("an empty member", nothing.clone(), b""),
            ("two members", [one.clone(), two.clone()].concat(), b"one\ntwo\n"),
            ("an empty member between", [&one[..], &nothing, &two].concat(), b"one\ntwo\n"),
            ("zeros behind", [one.clone(), zeros.clone()].concat(), b"one\n"),
            ("zeros between", [&one[..], &zeros, &two].concat(), b"one\ntwo\n"),
        ] {
            assert_eq!(read(packed)?, text, "{name}");
        }
        Ok(())
    }

    #[test]
    fn a_broken_gzip_is_an_error_wherever_it_breaks() -> io::Result<()> {
        let packed = gzip(b"some text that is long enough for a few blocks of it, and some more of it")?;
        for cut in GZIP_MAGIC.len()..packed.len() {
            let error = read(packed[..cut].to_vec()).err().map(|error| error.kind());
            assert_eq!(error, Some(io::ErrorKind::UnexpectedEof), "cut at {cut}");
        }
        for junk in [&b"x"[..], b"\x1f\x8c", b"garbage", b"\0\0garbage, longer than a header"] {
            let error = read([&packed[..], junk].concat()).err().map(|error| error.kind());
            assert_eq!(error, Some(io::ErrorKind::InvalidInput), "{}", junk.escape_ascii());
        }
        for (name, packed) in [
            ("a member cut", [&packed[..], &packed[..12]].concat()),
            ("header only", packed[..10].to_vec()),
            ("wrong method", [&b"\x1f\x8b\x07"[..], &packed[3..]].concat()),
        ] {
            assert!(read(packed).is_err(), "{name}");
        }
        // A flipped bit in the body, the CRC or the length; the header's time and system say nothing.
        for at in 10..packed.len() {
            let mut flipped = packed.clone();
            flipped[at] ^= 1;
            assert!(read(flipped).is_err(), "flipped at {at}");
        }
        Ok(())
    }

    #[test]
    fn where_gzip_is_required_nothing_else_is_taken() -> io::Result<()> {
        let open = |name: &str, bytes: &[u8]| {
            let folder = tempfile::tempdir()?;
            let path = folder.path().join(name);
            std::fs::write(&path, bytes)?;
            let mut text = String::new();
            Input::path(&path).open()?.read_to_string(&mut text)?;
            Ok::<_, io::Error>(text)
        };
        let compressed = gzip(b"text\n")?;
        let damaged = [b"\x1e", &compressed[1..]].concat();
        assert_eq!(open("1.tsv.gz", &compressed)?, "text\n");
        assert_eq!(open("1.tsv.GZ", &compressed)?, "text\n");
        assert_eq!(open("1.tsv", &compressed)?, "text\n");
        assert_eq!(open("1.tsv", b"text\n")?, "text\n");
        assert_eq!(open("1.tsv", b"")?, "");
        for (bytes, kind, said) in [
            (&b""[..], io::ErrorKind::UnexpectedEof, "it is empty"),
            (b"\x1f", io::ErrorKind::UnexpectedEof, "it is the first byte of gzip and no more"),
            (b"\x8b", io::ErrorKind::InvalidData, "not gzip but unknown data"),
            (b"t", io::ErrorKind::InvalidData, "not gzip but plain text"),
            (b"text\n", io::ErrorKind::InvalidData, "not gzip but plain text"),
            (&damaged, io::ErrorKind::InvalidData, "not gzip, or gzip with a damaged first byte"),
        ] {
            let error = open("1.tsv.gz", bytes).err().map(|error| (error.kind(), error.to_string()));
            assert_eq!(error, Some((kind, said.to_owned())));
        }
        Ok(())
    }

    #[test]
    fn an_interrupted_read_loses_nothing() -> io::Result<()> {
        /// Interrupted before each byte.
        struct Interrupted(Cursor<Vec<u8>>, bool);
        impl Read for Interrupted {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.1 = !self.1;
                if self.1 {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                let length = buffer.len().min(1);
                self.0.read(&mut buffer[..length])
            }
        }
        let packed = [&gzip(b"one\n")?[..], &[0; 9], &gzip(b"two\n")?, &gzip(b"three\n")?].concat();
        let mut text = Vec::new();
        Plain::new(Box::new(Interrupted(Cursor::new(packed), false)), false)?.read_to_end(&mut text)?;
        assert_eq!(text, b"one\ntwo\nthree\n");
        Ok(())
    }

    #[test]
    fn a_missing_file_is_an_error_only_when_it_is_opened() {
        let mut input = Input::path("/no/such/file");
        assert_eq!(input.name(), "/no/such/file");
        assert_eq!(input.open().err().map(|error| error.kind()), Some(io::ErrorKind::NotFound));
    }
}
