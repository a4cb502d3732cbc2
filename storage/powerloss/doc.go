// Package powerloss finds out what a failure of the power may leave of a process's files. It is for tests, on Linux.
//
// [Record] runs a process under ptrace, writes down every call that changes names and sizes or asks for durability, and compares the
// files with what they were at each of those; so it sees what is written through mapped memory too. [Recording.Replay] goes from
// one barrier (msync, fsync, fdatasync, a write to a file that was opened with O_SYNC or O_DSYNC) to the next, and makes images of the disk
// as it may be when the power fails between the two.
//
// # What a disk may be
//
// The model is a file system with a journal of names and sizes, as ext4 and XFS are, and is otherwise as unkind as POSIX allows:
//
//   - Content is durable once a barrier on its file has returned, as it was when the barrier began. Of what was written since, any
//     4 KiB page may be there, in any of its versions, and in a torn page any sector of 512 bytes. What never got there reads as zeros.
//   - Changes of names and sizes (creating, renaming, unlinking, truncating) reach the disk in their order: an image has a prefix of
//     them, while the content may be ahead or behind.
//   - A barrier on a file makes that prefix reach the last change of this file's own name or size at least, and one on a directory
//     the last change in it; what the same commit of a real journal would take along is not counted on.
//   - A file that grows by writing may have any of its sizes since its last barrier, with zeros where its pages are missing.
//
// ALICE (Pillai et al., OSDI 2014) calls this an abstract persistence model. A file system that forgets the name of a new file whose
// content was synced is not covered: ext4, XFS, Btrfs and F2FS do not, and Badger, which creates its logs so, would lose them there.
package powerloss
