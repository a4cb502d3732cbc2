package powerloss

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	pageSize   = 4096
	sectorSize = 512
	wholeFile  = 1 << 62 // the end of a barrier on all of a file
)

type pageData [pageSize]byte

// Recording is what a process did to the files of a directory, in order.
type Recording struct {
	Ended unix.WaitStatus // how the process ended
	Syncs int             // barriers that returned
	Waits map[string]int  // the same by extension of the file's name, or the name if it has none

	events []event
	before int // events that tell what was there at the start
	files  int
}

// event is one thing that happened: one of its fields is set.
type event struct {
	change *change
	sample *sample
	sync   *synced
	said   string
}

// change is one of a name or of a size. Paths are relative to the directory.
type change struct {
	kind     changeKind
	path, to string
	file     int
	size     int64
}

type changeKind uint8

const (
	created changeKind = iota
	madeDir
	renamed
	unlinked
	resized // by a call, so in the order of the journal
	grown   // by a write, so with its content
)

// sample is what had changed of a file's content when somebody looked.
type sample struct {
	file  int
	pages map[int64]*pageData
}

// synced is a barrier that has returned: of a directory, or of a part of a file.
type synced struct {
	dir      string
	file     int // if dir is empty
	from, to int64
}

// recorder makes a recording.
type recorder struct {
	Recording
	tracer
	dir   string
	most  int // barriers after which the process is killed
	names map[string]*file
	buf   []byte
}

// file is one that has a name, as it was when somebody last looked.
type file struct {
	id   int
	f    *os.File
	seen []byte
}

// Record runs a command whose process calls [Watched] and works in a directory, kills it after a number of barriers, and returns what it
// did there, with what it said on its standard output. Watched calls are let through one at a time, so that a recording is one order of
// them; what threads write through mapped memory meanwhile belongs to the next barrier. Errors: the process cannot be traced, or makes a call
// that the model does not know.
func Record(cmd *exec.Cmd, dir string, barriers int) (*Recording, error) {
	r := &recorder{Recording: Recording{Waits: map[string]int{}}, dir: dir, most: barriers, names: map[string]*file{}}
	defer r.forget()
	if err := r.scan(); err != nil {
		return nil, err
	}
	r.before, r.stop = len(r.events), r.stopped
	runtime.LockOSThread() // who starts a process traces it
	defer runtime.UnlockOSThread()
	err := r.start(cmd)
	if err == nil {
		defer cmd.Process.Release()
		if r.Ended, err = r.run(); err != nil {
			var gone syscall.Errno // what the kernel says of a process that was killed while it was looked at; the model's errors are none
			if errors.As(err, &gone) && r.ends(time.Second) {
				err = nil
			} else {
				unix.Kill(r.pid, unix.SIGKILL)
				r.ends(time.Minute)
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("recording %s: %w", dir, err)
	}
	return &r.Recording, nil
}

// ends tells whether the process ends within a time. It has ended when the end of each of its threads was seen.
func (r *recorder) ends(within time.Duration) bool {
	for until := time.Now().Add(within); time.Now().Before(until); {
		switch tid, err := unix.Wait4(-1, &r.Ended, unix.WALL|unix.WNOTHREAD|unix.WNOHANG, nil); {
		case tid == r.pid && !r.Ended.Stopped():
			return true
		case err != nil && !errors.Is(err, unix.EINTR): // there is none
			return false
		case tid <= 0:
			time.Sleep(time.Millisecond)
		}
	}
	return false
}

// scan takes what is in the directory as durable.
func (r *recorder) scan() error {
	return filepath.WalkDir(r.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == r.dir {
			return err
		}
		name := r.name(path)
		if entry.IsDir() {
			r.note(change{kind: madeDir, path: name})
			return nil
		}
		f, err := r.open(path, name)
		if err != nil {
			return err
		}
		if err := r.resize(f, name, resized); err != nil {
			return err
		}
		if err := r.look(f); err != nil {
			return err
		}
		r.events = append(r.events, event{sync: &synced{file: f.id, to: wholeFile}})
		return nil
	})
}

// open begins to follow a file.
func (r *recorder) open(path, name string) (*file, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	x := &file{id: r.files, f: f}
	r.files++
	r.names[name] = x
	r.note(change{kind: created, path: name, file: x.id})
	return x, nil
}

func (r *recorder) note(c change) { r.events = append(r.events, event{change: &c}) }

func (r *recorder) forget() {
	for _, f := range r.names {
		f.f.Close()
	}
}

// name is a path relative to the directory, empty if it is not in it.
func (r *recorder) name(path string) string {
	name, err := filepath.Rel(r.dir, path)
	if err != nil || strings.HasPrefix(name, "..") {
		return ""
	}
	return name
}

// at is the path that a call names.
func (r *recorder) at(dirfd, text uint64) (name string, err error) {
	path, err := r.text(text)
	if err != nil {
		return "", err
	}
	if !filepath.IsAbs(path) && int32(dirfd) != unix.AT_FDCWD {
		dir, err := r.path(dirfd)
		if err != nil {
			return "", err
		}
		path = filepath.Join(dir, path)
	}
	return r.name(path), nil
}

// stopped is called at the beginning of a watched call.
func (r *recorder) stopped(tid int, c *call) error {
	switch a := c.Args; c.Nr {
	case unix.SYS_OPENAT:
		if a[2]&(unix.O_CREAT|unix.O_TRUNC) == 0 {
			return nil
		}
		return r.onOpen(tid, a[0], a[1])
	case unix.SYS_WRITE, unix.SYS_PWRITE64:
		return r.onWrite(tid, c)
	case unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE:
		return r.onResize(tid, a[0])
	case unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2:
		return r.onRename(tid, a)
	case unix.SYS_UNLINKAT:
		return r.onUnlink(tid, a[0], a[1])
	case unix.SYS_MKDIRAT:
		name, err := r.at(a[0], a[1])
		if err != nil || name == "" {
			return err
		}
		result, err := r.finish(tid)
		if err == nil && result >= 0 {
			r.note(change{kind: madeDir, path: name})
		}
		return err
	case unix.SYS_MSYNC:
		path, offset, err := r.mapped(a[0])
		if err != nil {
			return err
		}
		return r.onSync(tid, path, offset, offset+int64(a[1]))
	case unix.SYS_FSYNC, unix.SYS_FDATASYNC:
		path, err := r.path(a[0])
		if err != nil {
			return err
		}
		return r.onSync(tid, path, 0, wholeFile)
	default:
		return fmt.Errorf("call %d is not in the model", c.Nr)
	}
}

func (r *recorder) onOpen(tid int, dirfd, text uint64) error {
	name, err := r.at(dirfd, text)
	if err != nil || name == "" {
		return err
	}
	result, err := r.finish(tid)
	if err != nil || result < 0 {
		return err
	}
	f := r.names[name]
	if f == nil {
		if f, err = r.open(filepath.Join(r.dir, name), name); err != nil {
			return err
		}
	}
	return r.resize(f, name, resized)
}

func (r *recorder) onResize(tid int, fd uint64) error {
	f, name, err := r.file(fd)
	if f == nil || err != nil {
		return err
	}
	if err := r.look(f); err != nil { // the last of what is cut off
		return err
	}
	if _, err := r.finish(tid); err != nil {
		return err
	}
	return r.resize(f, name, resized)
}

// onWrite takes what is said on the standard output as said before it is, and notes how files grow. Their content is seen at the next barrier.
func (r *recorder) onWrite(tid int, c *call) error {
	fd := c.Args[0]
	if fd == 1 {
		said, err := r.memory(c.Args[1], int(c.Args[2]))
		r.events = append(r.events, event{said: string(said)})
		return err
	}
	f, name, err := r.file(fd)
	if f == nil || err != nil {
		return err
	}
	result, err := r.finish(tid)
	if err != nil || result < 0 {
		return err
	}
	if err := r.resize(f, name, grown); err != nil {
		return err
	}
	flags, err := r.flags(fd)
	if err == nil && flags&unix.O_DSYNC != 0 { // O_SYNC includes it
		if err = r.look(f); err == nil {
			r.barrier(name, synced{file: f.id, to: 1 << 62})
		}
	}
	return err
}

func (r *recorder) onRename(tid int, a [6]uint64) error {
	from, err := r.at(a[0], a[1])
	if err != nil {
		return err
	}
	to, err := r.at(a[2], a[3])
	if err != nil {
		return err
	}
	f := r.names[from]
	if f == nil && from == "" && to == "" {
		return nil
	}
	if f == nil || to == "" {
		return fmt.Errorf("renaming %q to %q is not in the model", from, to)
	}
	if err := r.look(f); err != nil {
		return err
	}
	result, err := r.finish(tid)
	if err != nil || result < 0 {
		return err
	}
	r.note(change{kind: renamed, path: from, to: to, file: f.id})
	delete(r.names, from)
	if old := r.names[to]; old != nil {
		old.f.Close()
	}
	r.names[to] = f
	return nil
}

func (r *recorder) onUnlink(tid int, dirfd, text uint64) error {
	name, err := r.at(dirfd, text)
	if err != nil {
		return err
	}
	f := r.names[name]
	if f == nil {
		return nil // there is none, or it is elsewhere
	}
	if err := r.look(f); err != nil {
		return err
	}
	result, err := r.finish(tid)
	if err != nil || result < 0 {
		return err
	}
	r.note(change{kind: unlinked, path: name, file: f.id})
	delete(r.names, name)
	return f.f.Close()
}

// onSync looks at all files before a barrier, which may fail.
func (r *recorder) onSync(tid int, path string, from, to int64) error {
	name := r.name(path)
	if name == "" {
		return nil
	}
	for _, f := range r.names {
		if err := r.look(f); err != nil {
			return err
		}
	}
	result, err := r.finish(tid)
	if err != nil || result < 0 {
		return err
	}
	if f := r.names[name]; f != nil {
		r.barrier(name, synced{file: f.id, from: from, to: to})
	} else if info, err := os.Stat(path); err == nil && info.IsDir() {
		r.barrier(name, synced{dir: name})
	}
	return nil
}

func (r *recorder) barrier(name string, s synced) {
	r.events = append(r.events, event{sync: &s})
	if ext := filepath.Ext(name); ext != "" {
		name = ext
	}
	r.Waits[name]++
	if r.Syncs++; r.Syncs >= r.most {
		unix.Kill(r.pid, unix.SIGKILL)
	}
}

// file is the one that a descriptor of the process names, nil if it is none of the directory's.
func (r *recorder) file(fd uint64) (*file, string, error) {
	path, err := r.path(fd)
	if err != nil {
		return nil, "", err
	}
	name := r.name(path)
	return r.names[name], name, nil
}

// resize notes the size that a file has now.
func (r *recorder) resize(f *file, name string, kind changeKind) error {
	info, err := f.f.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	if size == int64(len(f.seen)) {
		return nil
	}
	r.note(change{kind: kind, path: name, file: f.id, size: size})
	if size < int64(len(f.seen)) {
		f.seen = f.seen[:size:size]
	} else {
		f.seen = append(f.seen, make([]byte, size-int64(len(f.seen)))...)
	}
	return nil
}

// look notes the pages of a file that have changed since it was last looked at.
func (r *recorder) look(f *file) error {
	size := len(f.seen)
	if cap(r.buf) < size {
		r.buf = make([]byte, size)
	}
	now := r.buf[:size]
	if _, err := f.f.ReadAt(now, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	s := &sample{file: f.id, pages: map[int64]*pageData{}}
	for at := 0; at < size; at += pageSize {
		end := min(at+pageSize, size)
		if bytes.Equal(now[at:end], f.seen[at:end]) {
			continue
		}
		copy(f.seen[at:end], now[at:end])
		page := new(pageData)
		copy(page[:], now[at:end])
		s.pages[int64(at/pageSize)] = page
	}
	if len(s.pages) > 0 {
		r.events = append(r.events, event{sample: s})
	}
	return nil
}
