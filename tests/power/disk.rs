//! The tree as a file system that programs use, through FUSE.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::tree::{Bytes, Kind, Tree};

/// How long the kernel may believe what it was told: nobody else changes the tree.
const BELIEVE: Duration = Duration::from_secs(60);
const SOCKET: u32 = 0o140_000;
const FILE_TYPE: u32 = 0o170_000;

/// A disk whose power can be cut.
pub(crate) struct Disk {
    tree: Arc<Mutex<Tree>>,
    at: PathBuf,
    mounted: Option<BackgroundSession>,
}

impl Disk {
    /// An empty one at `at`, which is made.
    pub(crate) fn mount(at: &Path) -> Self {
        std::fs::create_dir_all(at).expect("a folder");
        let mut disk = Self { tree: Arc::new(Mutex::new(Tree::new())), at: at.to_owned(), mounted: None };
        disk.plug_in();
        disk
    }

    fn plug_in(&mut self) {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("slipway-power".into())];
        let mounted = fuser::spawn_mount(Fuse(Arc::clone(&self.tree)), &self.at, &config);
        self.mounted = Some(mounted.expect("FUSE is there, and this is root"));
    }

    /// The power goes and is back. Nobody may use the disk meanwhile.
    pub(crate) fn cut(&mut self, choose: &mut dyn FnMut(usize) -> usize) {
        if let Some(mounted) = self.mounted.take() {
            match mounted.umount_and_join() {
                // With a request still on its way the kernel says so to the thread that serves it: the disk is gone all the same.
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionAborted => {}
                done => done.expect("nobody uses the disk"),
            }
        }
        self.tree.lock().expect("lock").cut(choose);
        self.plug_in();
    }
}

struct Fuse(Arc<Mutex<Tree>>);

impl Fuse {
    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.0.lock().expect("lock")
    }
}

fn attributes(tree: &Tree, number: u64) -> Result<FileAttr, Errno> {
    let node = tree.node(number)?;
    let (kind, size) = match &node.kind {
        Kind::File(bytes) => (FileType::RegularFile, bytes.len()),
        Kind::Folder(_) => (FileType::Directory, 4096),
        Kind::Link(to) => (FileType::Symlink, to.as_os_str().len()),
        Kind::Socket => (FileType::Socket, 0),
    };
    Ok(FileAttr {
        ino: INodeNo(number),
        size: size as u64,
        blocks: (size as u64).div_ceil(512),
        atime: node.changed,
        mtime: node.changed,
        ctime: node.changed,
        crtime: UNIX_EPOCH,
        kind,
        perm: (node.mode & 0o7777) as u16,
        nlink: node.links,
        uid: node.owner.0,
        gid: node.owner.1,
        rdev: 0,
        flags: 0,
        blksize: 4096,
    })
}

fn owner(request: &Request) -> (u32, u32) {
    (request.uid(), request.gid())
}

fn entry(reply: ReplyEntry, found: Result<FileAttr, Errno>) {
    match found {
        Ok(attributes) => reply.entry(&BELIEVE, &attributes, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn empty(reply: ReplyEmpty, done: Result<(), Errno>) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

/// A new name and what it leads to.
fn made(
    tree: &mut Tree,
    folder: INodeNo,
    name: &OsStr,
    kind: Kind,
    rights: (u32, (u32, u32)),
) -> Result<FileAttr, Errno> {
    let number = tree.add(folder.0, name, kind, rights)?;
    attributes(tree, number)
}

impl Filesystem for Fuse {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let tree = self.tree();
        entry(reply, tree.find(parent.0, name).and_then(|number| attributes(&tree, number)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match attributes(&self.tree(), ino.0) {
            Ok(attributes) => reply.attr(&BELIEVE, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut tree = self.tree();
        let changed = (|| {
            if let Some(size) = size {
                tree.file_mut(ino.0)?.resize(usize::try_from(size).map_err(|_| Errno::EFBIG)?);
            }
            let node = tree.node_mut(ino.0)?;
            node.mode = mode.unwrap_or(node.mode);
            node.owner = (uid.unwrap_or(node.owner.0), gid.unwrap_or(node.owner.1));
            node.changed = match mtime {
                Some(TimeOrNow::SpecificTime(time)) => time,
                _ => SystemTime::now(),
            };
            attributes(&tree, ino.0)
        })();
        match changed {
            Ok(attributes) => reply.attr(&BELIEVE, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.tree().node(ino.0).map(|node| &node.kind) {
            Ok(Kind::Link(to)) => reply.data(to.as_os_str().as_bytes()),
            _ => reply.error(Errno::EINVAL),
        }
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let kind = if mode & FILE_TYPE == SOCKET { Kind::Socket } else { Kind::File(Bytes::default()) };
        entry(reply, made(&mut self.tree(), parent, name, kind, (mode, owner(request))));
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        let kind = Kind::Folder(std::collections::BTreeMap::new());
        entry(reply, made(&mut self.tree(), parent, name, kind, (mode, owner(request))));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(reply, self.tree().remove(parent.0, name, false));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(reply, self.tree().remove(parent.0, name, true));
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let kind = Kind::Link(target.to_owned());
        entry(reply, made(&mut self.tree(), parent, name, kind, (0o777, owner(request))));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if flags.contains(RenameFlags::RENAME_EXCHANGE) {
            return reply.error(Errno::EINVAL);
        }
        let replace = !flags.contains(RenameFlags::RENAME_NOREPLACE);
        empty(reply, self.tree().rename((parent.0, name), (newparent.0, newname), replace));
    }

    fn link(&self, _: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        let mut tree = self.tree();
        let linked = tree.link(ino.0, newparent.0, newname);
        entry(reply, linked.and_then(|()| attributes(&tree, ino.0)));
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let tree = self.tree();
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        match tree.file(ino.0) {
            Ok(bytes) => reply.data(&bytes.read(offset, size as usize)),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut tree = self.tree();
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        match tree.file_mut(ino.0) {
            Ok(bytes) => {
                bytes.write(offset, data);
                reply.written(data.len() as u32);
            }
            Err(error) => reply.error(error),
        }
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        empty(reply, self.tree().file_mut(ino.0).map(Bytes::keep));
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let tree = self.tree();
        let names = match tree.folder(ino.0) {
            Ok(names) => names,
            Err(error) => return reply.error(error),
        };
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        for (at, (name, number)) in names.iter().enumerate().skip(skipped) {
            let kind = attributes(&tree, *number).map_or(FileType::RegularFile, |attributes| attributes.kind);
            if reply.add(INodeNo(*number), at as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.tree().keep_names();
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(1 << 24, 1 << 23, 1 << 23, 1 << 20, 1 << 19, 4096, 255, 4096);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let kind = Kind::File(Bytes::default());
        match made(&mut self.tree(), parent, name, kind, (mode, owner(request))) {
            Ok(attributes) => {
                reply.created(&BELIEVE, &attributes, Generation(0), FileHandle(0), FopenFlags::empty());
            }
            Err(error) => reply.error(error),
        }
    }
}
