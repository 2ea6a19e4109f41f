//! `directory:///path`: a transport that keeps its queues in a directory, a file for each message; one process at a time may use it.
//!
//! All of AMQP comes from `kombu_virtual`. A message is written beside its place and renamed into it, so that it is there wholly or
//! not at all, and stays until it is acknowledged: what a killed process held is there for the next one, flagged as redelivered.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use kombu_core::{Capabilities, Error, ErrorKind, Result, Support, Transport, TransportConfig, TransportEntry};
use kombu_virtual::{BindingDefinition, QueueDefinition, QueueMessage, QueueStore, VirtualBroker, VirtualTransport};

kombu_core::register_transport! {
    TransportEntry { name: "directory", schemes: &["directory"], description: "files of one process", make }
}

/// Connections of one process to the same directory share its broker.
static BROKERS: Mutex<BTreeMap<PathBuf, Weak<VirtualBroker<Directory>>>> = Mutex::new(BTreeMap::new());

fn make(config: TransportConfig) -> Result<Arc<dyn Transport>> {
    let root = Path::new("/").join(config.url.path());
    let mut brokers = BROKERS.lock().unwrap_or_else(PoisonError::into_inner);
    let new = || VirtualBroker::new(Directory { root: root.clone(), lock: None, bindings: Vec::new() }, config.clock);
    let broker = brokers.get(&root).and_then(Weak::upgrade).unwrap_or_else(new);
    brokers.insert(root, Arc::downgrade(&broker));
    Ok(Arc::new(VirtualTransport::new(broker)))
}

struct Directory {
    root: PathBuf,
    /// Held while the directory is in use; the system gives it up when the process dies.
    lock: Option<File>,
    bindings: Vec<BindingDefinition>,
}

struct Folder {
    path: PathBuf,
    /// The messages that are not handed out, and whether each was here already, so that an earlier process may have delivered it.
    ready: BTreeMap<u64, bool>,
    next: u64,
}

impl Directory {
    /// Takes the directory into use at the first call, and returns the path of a queue.
    fn path(&mut self, queue: &str) -> Result<PathBuf> {
        if self.lock.is_none() {
            let lock = fs::create_dir_all(&self.root).and_then(|()| File::create(self.root.join("lock")));
            let lock = lock.map_err(|error| failed(&self.root, error))?;
            lock.try_lock().map_err(|_| Error::new(ErrorKind::ResourceLocked, "another process uses the directory"))?;
            let path = self.root.join("bindings");
            let file = if path.exists() { fs::read(&path).map_err(|error| failed(&path, error))? } else { Vec::new() };
            let lines = file.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            self.bindings = lines.map(BindingDefinition::from_bytes).collect::<Result<_>>()?;
            self.lock = Some(lock);
        }
        // Any text may name a queue, but not a file.
        let safe =
            |byte: u8| (byte.is_ascii_alphanumeric() || b"-_".contains(&byte)).then(|| char::from(byte).to_string());
        let escape = |byte: u8| safe(byte).unwrap_or_else(|| format!("%{byte:02x}"));
        Ok(self.root.join("queues").join(queue.bytes().map(escape).collect::<String>()))
    }

    fn save_bindings(&self) -> Result<()> {
        let lines = self.bindings.iter().map(BindingDefinition::to_bytes).collect::<Result<Vec<_>>>()?;
        write(&self.root.join("bindings"), &lines.join(&b'\n'))
    }
}

impl QueueStore for Directory {
    type Queue = Folder;

    fn create(&mut self, name: &str, _: &QueueDefinition) -> Result<Folder> {
        let path = self.path(name)?;
        let files = fs::create_dir_all(&path).and_then(|()| fs::read_dir(&path)?.collect::<Result<Vec<_>, _>>());
        let files = files.map_err(|error| failed(&path, error))?;
        let position = |file: &DirEntry| file.file_name().to_str()?.parse().ok().map(|position| (position, true));
        let ready: BTreeMap<u64, bool> = files.iter().filter_map(position).collect();
        Ok(Folder { path, next: ready.keys().last().map_or(0, |last| last + 1), ready })
    }

    fn exists(&mut self, name: &str) -> Result<bool> {
        Ok(self.path(name)?.is_dir())
    }

    fn push(&mut self, queue: &mut Folder, mut message: QueueMessage) -> Result<()> {
        message.position = queue.next;
        queue.next += 1;
        self.put_back(queue, message)
    }

    fn put_back(&mut self, queue: &mut Folder, message: QueueMessage) -> Result<()> {
        write(&queue.path.join(message.position.to_string()), &message.to_bytes()?)?;
        queue.ready.insert(message.position, false);
        Ok(())
    }

    fn pop(&mut self, queue: &mut Folder) -> Result<Option<QueueMessage>> {
        let Some((&position, &was_here)) = queue.ready.first_key_value() else { return Ok(None) };
        let path = queue.path.join(position.to_string());
        let mut message = QueueMessage::from_bytes(&fs::read(&path).map_err(|error| failed(&path, error))?)?;
        message.position = position;
        message.redelivered |= was_here;
        queue.ready.pop_first();
        Ok(Some(message))
    }

    fn forget(&mut self, queue: &mut Folder, message: &QueueMessage) -> Result<()> {
        let path = queue.path.join(message.position.to_string());
        fs::remove_file(&path).map_err(|error| failed(&path, error))
    }

    fn len(&mut self, queue: &mut Folder) -> Result<usize> {
        Ok(queue.ready.len())
    }

    fn remove(&mut self, _: &str, queue: &mut Folder) -> Result<()> {
        fs::remove_dir_all(&queue.path).map_err(|error| failed(&queue.path, error))
    }

    fn bind(&mut self, binding: &BindingDefinition) -> Result<()> {
        self.bindings.push(binding.clone());
        self.save_bindings()
    }

    fn unbind(&mut self, binding: &BindingDefinition) -> Result<()> {
        self.bindings.retain(|known| known != binding);
        self.save_bindings()
    }

    fn bindings(&mut self, exchange: &str) -> Result<Vec<BindingDefinition>> {
        self.path(exchange)?;
        Ok(self.bindings.iter().filter(|binding| binding.exchange == exchange).cloned().collect())
    }

    fn capabilities(&self) -> Capabilities {
        let mut can = kombu_virtual::emulated();
        (can.durable, can.persistent) = (Support::Native, Support::Native);
        can
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = path.with_extension("new");
    fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path)).map_err(|error| failed(path, error))
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Internal, "the file cannot be used").caused_by(error).with("path", path.display())
}
