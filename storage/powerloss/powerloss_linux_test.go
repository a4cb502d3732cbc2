package powerloss

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// In the environment of a child: where it works, and that it does so until it kills itself.
const (
	workDir  = "POINTSMAN_TEST_DIR"
	killSelf = "POINTSMAN_TEST_KILL"
)

func init() { runtime.LockOSThread() } // main has the first thread of the process

func TestMain(m *testing.M) {
	dir := os.Getenv(workDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	do := work
	if os.Getenv(killSelf) != "" {
		do = workUntilKilled
	}
	if err := do(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// work uses files in the ways that the model tells apart, and says how far it is.
func work(dir string) error {
	if err := Watched(); err != nil {
		return err
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	synced, err := os.Create(at("synced"))
	must(err)
	must2(synced.WriteString("first"))
	must(synced.Sync())
	fmt.Println("synced")
	must2(synced.WriteAt([]byte("other"), 0))

	unsynced, err := os.Create(at("unsynced"))
	must(err)
	must2(unsynced.WriteString("content"))
	must(os.WriteFile(at("gone"), []byte("x"), 0o600))
	must(os.Rename(at("unsynced"), at("renamed")))
	d, err := os.Open(dir)
	must(err)
	must(d.Sync())
	fmt.Println("renamed")
	must(os.Remove(at("gone")))

	mapped, err := os.Create(at("mapped"))
	must(err)
	must(mapped.Truncate(2 * pageSize))
	memory, err := unix.Mmap(int(mapped.Fd()), 0, 2*pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(err)
	memory[0], memory[pageSize] = 'a', 'b'
	must(unix.Msync(memory[:pageSize], unix.MS_SYNC))
	fmt.Println("mapped")
	must(mapped.Truncate(0))

	always, err := os.OpenFile(at("always"), os.O_CREATE|os.O_WRONLY|unix.O_DSYNC, 0o600)
	must(err)
	must2(always.WriteString("always"))
	fmt.Println("always")
	must(os.Rename(at("renamed"), at("last")))
	return nil
}

// workUntilKilled waits for the disk in its first thread until another one kills the process.
func workUntilKilled(dir string) error {
	if err := Watched(); err != nil {
		return err
	}
	go func() {
		time.Sleep(time.Duration(rand.IntN(20_000)) * time.Microsecond)
		unix.Kill(os.Getpid(), unix.SIGKILL)
	}()
	f, err := os.Create(filepath.Join(dir, "file"))
	for err == nil {
		if _, err = f.WriteString("x"); err == nil {
			err = f.Sync()
		}
	}
	return err
}

// TestKilled: a recording ends with its process, also if that is killed while its first thread is in a call.
func TestKilled(t *testing.T) {
	for range 40 {
		ended := make(chan error, 1)
		dir := t.TempDir()
		go func() {
			child := exec.Command(os.Args[0])
			child.Env = append(os.Environ(), workDir+"="+dir, killSelf+"=1")
			r, err := Record(child, dir, 1<<30)
			if err == nil && r.Ended.Signal() != unix.SIGKILL {
				err = fmt.Errorf("the child ended with %v", r.Ended)
			}
			ended <- err
		}()
		select {
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("the recording goes on without its process")
		}
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func must2(_ int, err error) { must(err) }

// TestModel compares disks after each barrier with what the model promises of them.
func TestModel(t *testing.T) {
	dir := t.TempDir()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), workDir+"="+dir)
	child.Stderr = os.Stderr
	r, err := Record(child, dir, 100)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Ended.Exited() || r.Ended.ExitStatus() != 0 || r.Syncs != 4 {
		t.Fatalf("the child ended with %v after %d barriers", r.Ended, r.Syncs)
	}
	zeros := func(n int) string { return strings.Repeat("\x00", n) }
	a, b := "a"+zeros(pageSize-1), "b"+zeros(pageSize-1)
	want := []struct {
		said         string
		strict, kept map[string]string
		may          map[string][]string // other content that a file may have
	}{
		{"", map[string]string{}, map[string]string{"synced": "first"}, map[string][]string{"synced": {"", zeros(5)}}},
		{
			"synced",
			map[string]string{"synced": "first"},
			map[string]string{"synced": "other", "renamed": "content", "gone": "x"},
			map[string][]string{"unsynced": {"", zeros(7), "content"}, "renamed": {"", zeros(7)}, "gone": {"", zeros(1)}},
		},
		{
			"renamed",
			map[string]string{"synced": "first", "renamed": "", "gone": ""},
			map[string]string{"synced": "other", "renamed": "content", "mapped": a + b},
			map[string][]string{"renamed": {zeros(7)}, "gone": {"x", zeros(1)}, "mapped": {"", zeros(2 * pageSize), a + zeros(pageSize), zeros(pageSize) + b}},
		},
		{
			"mapped",
			map[string]string{"synced": "first", "renamed": "", "mapped": a + zeros(pageSize)},
			map[string]string{"synced": "other", "renamed": "content", "mapped": "", "always": "always"},
			map[string][]string{"renamed": {zeros(7)}, "mapped": {a + b}, "always": {"", zeros(6)}},
		},
		{
			"always",
			map[string]string{"synced": "first", "renamed": "", "mapped": "", "always": "always"},
			map[string]string{"synced": "other", "last": "content", "mapped": "", "always": "always"},
			map[string][]string{"renamed": {zeros(7), "content"}, "last": {"", zeros(7)}},
		},
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	if err := r.Replay(func(p *Point) error {
		w := want[p.Syncs]
		if got := p.Said[strings.LastIndexByte(strings.TrimSuffix(p.Said, "\n"), '\n')+1:]; strings.TrimSpace(got) != w.said {
			t.Errorf("before barrier %d: it said %q last, not %q", p.Syncs+1, got, w.said)
		}
		if got := image(t, p, Strict, random); !maps.Equal(got, w.strict) {
			t.Errorf("before barrier %d: strictly there is %q, not %q", p.Syncs+1, got, w.strict)
		}
		if got := image(t, p, Kept, random); !maps.Equal(got, w.kept) {
			t.Errorf("before barrier %d: in all there is %q, not %q", p.Syncs+1, got, w.kept)
		}
		may := map[string]bool{}
		for name, contents := range w.may {
			for _, content := range contents {
				may[name+content] = false
			}
		}
		for _, all := range []map[string]string{w.strict, w.kept} {
			for name, content := range all {
				may[name+content] = false
			}
		}
		for i := range 600 {
			for name, content := range image(t, p, []Loss{Names, Pages, Sectors}[i%3], random) {
				if _, ok := may[name+content]; !ok {
					t.Fatalf("before barrier %d: there cannot be %q with %q (seed %d)", p.Syncs+1, name, content, seed)
				}
				may[name+content] = true
			}
		}
		if never := slices.DeleteFunc(slices.Sorted(maps.Keys(may)), func(k string) bool { return may[k] }); len(never) > 0 {
			t.Errorf("before barrier %d: there never was %q (seed %d)", p.Syncs+1, never, seed)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// image is what an image has by name.
func image(t *testing.T, p *Point, loss Loss, random *rand.Rand) map[string]string {
	t.Helper()
	dir := t.TempDir()
	if _, err := p.Image(dir, loss, random); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[entry.Name()] = string(content)
	}
	return files
}
