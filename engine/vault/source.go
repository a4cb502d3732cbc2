package vault

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Source says where a key-encryption key is read from: "file:PATH", "credential:NAME" (of systemd, in $CREDENTIALS_DIRECTORY),
// "env:NAME" or "command:PROGRAM ARGUMENT…", which prints it. It is no secret.
type Source string

const (
	commandTime   = 10 * time.Second // that a command may take
	maxSecretText = 4096             // bytes of a key's text
)

// Errors of a source.
var (
	// ErrSource: it is not of a form that [Source] has.
	ErrSource = errors.New(`must be "file:PATH", "credential:NAME", "env:NAME" or "command:PROGRAM ARGUMENT…", with absolute paths`)
	// ErrUnreadable: there is no key-encryption key.
	ErrUnreadable = errors.New("the key-encryption key cannot be read")
)

var errTooLong = fmt.Errorf("it is longer than %d bytes", maxSecretText)

// ParseSource checks the form of a source, not that it can be read. The error matches ErrSource.
func ParseSource(text string) (Source, error) {
	kind, rest, _ := strings.Cut(text, ":")
	ok := false
	switch kind {
	case "file":
		ok = filepath.IsAbs(rest)
	case "credential":
		ok = rest != "" && rest == filepath.Base(rest) && rest != "." && rest != ".."
	case "env":
		ok = rest != "" && !strings.ContainsAny(rest, "= ")
	case "command":
		argv := strings.Fields(rest)
		ok = len(argv) > 0 && filepath.IsAbs(argv[0])
	}
	if !ok || strings.ContainsAny(text, "\x00\n") {
		return "", ErrSource
	}
	return Source(text), nil
}

// IsCommand tells whether reading the source starts a program.
func (s Source) IsCommand() bool { return strings.HasPrefix(string(s), "command:") }

// read returns the secret that the source has: 64 hex digits or more in its text. Errors match ErrUnreadable and say nothing of what was read.
func (s Source) read(env func(string) string) ([]byte, error) {
	text, err := s.text(env)
	if err != nil {
		return nil, fmt.Errorf("%w from %s: %w", ErrUnreadable, s, err)
	}
	defer clear(text)
	digits := bytes.TrimSpace(text)
	secret := make([]byte, hex.DecodedLen(len(digits)))
	if _, err := hex.Decode(secret, digits); err != nil || len(secret) < secretSize {
		clear(secret)
		return nil, fmt.Errorf("%w from %s: it is not at least %d hex digits, as `openssl rand -hex %d` prints", ErrUnreadable, s, 2*secretSize, secretSize)
	}
	return secret, nil
}

func (s Source) text(env func(string) string) ([]byte, error) {
	kind, rest, _ := strings.Cut(string(s), ":")
	switch kind {
	case "credential":
		dir := env("CREDENTIALS_DIRECTORY")
		if dir == "" {
			return nil, errors.New("CREDENTIALS_DIRECTORY is not set: systemd sets it for units with LoadCredential")
		}
		rest = filepath.Join(dir, rest)
	case "env":
		if env(rest) == "" {
			return nil, errors.New("the variable is not set")
		}
		return []byte(env(rest)), nil
	case "command":
		return run(strings.Fields(rest))
	}
	file, err := os.Open(rest)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text := make([]byte, maxSecretText+1)
	n, err := io.ReadFull(file, text)
	switch {
	case n > maxSecretText:
		err = errTooLong
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return text[:n], nil
	}
	clear(text)
	return nil, err
}

// run starts a program without a shell, with hardly an environment, and returns what it prints. Its standard error is not
// kept: it may hold anything.
func run(argv []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	printed := &bounded{make([]byte, 0, maxSecretText)}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + os.Getenv("HOME")}
	cmd.Stdout = printed
	cmd.WaitDelay = time.Second // for a child of it that keeps the pipe
	err := cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("the command took more than %v", commandTime)
	}
	if err != nil {
		clear(printed.text)
		return nil, err
	}
	return printed.text, nil
}

// bounded takes a text that never moves in memory, so that clearing it leaves no copy.
type bounded struct{ text []byte }

// Write fails for what is too long.
func (b *bounded) Write(p []byte) (int, error) {
	if len(b.text)+len(p) > cap(b.text) {
		return 0, errTooLong
	}
	b.text = append(b.text, p...)
	return len(p), nil
}
