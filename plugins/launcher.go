package plugins

import (
	"os/exec"
	"runtime"
)

// launcher starts processes from one thread that lives as long as the host: the kernel's parent-death signal is sent
// when the *thread* that started the process ends, and Go ends threads as it likes.
type launcher struct {
	work chan func()
}

func newLauncher() *launcher {
	l := &launcher{work: make(chan func())}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for f := range l.work {
			f()
		}
	}()
	return l
}

func (l *launcher) start(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	l.work <- func() { done <- cmd.Start() }
	return <-done
}

// close ends the thread; no process may be running.
func (l *launcher) close() { close(l.work) }
