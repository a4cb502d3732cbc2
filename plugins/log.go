package plugins

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	maxLogLine   = 64 << 10 // bytes; the rest of a longer line is dropped
	maxLogRate   = 1 << 20  // bytes a second of one plugin; more is dropped
	maxReadRate  = 4 << 20  // bytes a second of one plugin that are read while some are dropped: reading them costs others their time
	lastLineSize = 300
)

// logWriter puts what a plugin prints into the gateway's log, one record a line, within limits. It is safe for
// concurrent use.
type logWriter struct {
	logger *slog.Logger

	mu      sync.Mutex
	line    []byte // begun, without its end
	cut     bool   // the line is longer than allowed; its rest is dropped
	last    string
	second  time.Time // when the current second of the rate began
	used    int       // bytes logged in it
	dropped int       // bytes not logged in it
}

func newLogWriter(logger *slog.Logger) *logWriter { return &logWriter{logger: logger} }

// Write takes any piece of the output; it never fails, for a plugin must not be stopped by its log. One that floods it is slowed down:
// the pipe is full until Write returns.
func (w *logWriter) Write(data []byte) (int, error) {
	if w.take(data) {
		time.Sleep(time.Duration(len(data)) * time.Second / maxReadRate)
	}
	return len(data), nil
}

// take logs what there is room for, and tells whether some is dropped in this second.
func (w *logWriter) take(data []byte) (flood bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := time.Now(); now.Sub(w.second) >= time.Second {
		w.report()
		w.second, w.used = now, 0
	}
	for len(data) > 0 {
		line, rest, ended := bytes.Cut(data, []byte{'\n'})
		room := maxLogLine - len(w.line)
		if len(line) > room {
			w.cut = true
			w.dropped += len(line) - room
			line = line[:room]
		}
		w.line = append(w.line, line...)
		if ended {
			w.emit()
		}
		data = rest
	}
	return w.dropped > 0
}

// flush logs a last line without an end.
func (w *logWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.line) > 0 {
		w.emit()
	}
	w.report()
}

// lastLine returns the beginning of the last line that is not empty.
func (w *logWriter) lastLine() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if text := bytes.TrimSpace(w.line); len(text) > 0 {
		return string(text[:min(len(text), lastLineSize)])
	}
	return w.last
}

// emit ends the line that was begun.
func (w *logWriter) emit() {
	text, cut := bytes.TrimRight(w.line, "\r"), w.cut
	size := len(w.line) + 1 // its end counts, or empty lines would cost nothing
	w.line, w.cut = w.line[:0], false
	if len(text) > 0 {
		w.last = string(text[:min(len(text), lastLineSize)])
	}
	if w.used+size > maxLogRate {
		w.dropped += size
		return
	}
	if w.used += size; len(text) == 0 {
		return
	}
	attrs := []slog.Attr{slog.String("line", string(text))}
	if cut {
		attrs = append(attrs, slog.Bool("cut", true))
	}
	w.logger.LogAttrs(context.Background(), slog.LevelInfo, "plugin says", attrs...)
}

func (w *logWriter) report() {
	if w.dropped > 0 {
		w.logger.Warn("plugin log dropped", "bytes", w.dropped)
		w.dropped = 0
	}
}
