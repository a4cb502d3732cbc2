package depot

import (
	"os"
	"time"
)

// fingerprint tells versions of a policy's files apart. Stat follows symbolic links, so that a link that is turned to
// another file is seen, and so is a file that was renamed into place.
type fingerprint struct{ module, signature os.FileInfo }

// look takes the fingerprint of an entry's files; nil stands for one that cannot be seen.
func look(e Entry) fingerprint {
	var f fingerprint
	if info, err := os.Stat(e.File); err == nil {
		f.module = info
	}
	if e.Signature != "" {
		if info, err := os.Stat(e.Signature); err == nil {
			f.signature = info
		}
	}
	return f
}

func (f fingerprint) equal(other fingerprint) bool {
	same := func(a, b os.FileInfo) bool {
		if a == nil || b == nil {
			return a == nil && b == nil
		}
		return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
	}
	return same(f.module, other.module) && same(f.signature, other.signature)
}

// PollInterval is how often files are looked at. A new file is loaded when it looked the same twice, so that one that is
// still being written, or whose signature is still to come, is left alone.
const PollInterval = 500 * time.Millisecond

// poll loads the policies whose files changed and then kept still since the last poll; changing remembers the others.
func (d *Depot) poll(changing map[string]fingerprint) {
	d.mu.RLock()
	var due []Entry
	for name, e := range d.entries {
		if e.File == "" {
			continue
		}
		now := look(e)
		switch before, moved := changing[name]; {
		case now.equal(d.seen[name]):
			delete(changing, name)
		case moved && now.equal(before):
			delete(changing, name)
			due = append(due, e)
		default:
			changing[name] = now
		}
	}
	d.mu.RUnlock()
	for _, e := range due {
		d.change.Lock()
		if again, ok := d.entry(e.Name); ok && again.File == e.File {
			_ = d.settle(e.Name, ActionReload, "file") // an error was told as an event, and the old one serves
		}
		d.change.Unlock()
	}
}
