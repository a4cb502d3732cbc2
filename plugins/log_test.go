package plugins

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// Whatever a plugin floods its log with counts: lines, a line without an end, lines with nothing in them.
func TestEveryFloodIsNoticed(t *testing.T) {
	for name, flood := range map[string][]byte{
		"lines":              bytes.Repeat([]byte("a line of a few words\n"), 50_000),
		"one without an end": bytes.Repeat([]byte{'x'}, maxLogRate+1),
		"empty lines":        bytes.Repeat([]byte{'\n'}, maxLogRate+1),
		"blank lines":        bytes.Repeat([]byte("\r\n"), maxLogRate),
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			w := newLogWriter(slog.New(slog.NewTextHandler(&log, nil)))
			if w.take([]byte("an ordinary line\n\nand another\n")) {
				t.Error("a few lines are taken for a flood")
			}
			second := func(at time.Time) { w.mu.Lock(); w.second = at; w.mu.Unlock() }
			second(time.Now().Add(time.Hour)) // however slow the machine is, it is one
			slow := false
			for len(flood) > 0 {
				piece := flood[:min(len(flood), 32<<10)] // as it is read from a pipe
				flood, slow = flood[len(piece):], w.take(piece)
			}
			if !slow {
				t.Error("goes unnoticed")
			}
			second(time.Time{})
			if w.take([]byte("\nx")) {
				t.Error("it is still held against the plugin a second later")
			}
			if w.flush(); strings.Count(log.String(), "plugin log dropped") != 1 {
				t.Error("it is not told that some is dropped, or more than once")
			}
		})
	}
}
