package backup

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
)

// written is a backup with a file of several parts, an empty one and a short one.
func written(t testing.TB) (archive []byte, files map[string][]byte) {
	t.Helper()
	files = map[string][]byte{Ledger: bytes.Repeat([]byte("0123456789abcdef"), (2*partSize+32)/16), Log: nil, OwnKeys: []byte("shares")}
	var b bytes.Buffer
	w := NewWriter(&b, time.Unix(1700000000, 0))
	for _, name := range []string{Log, OwnKeys, Ledger} {
		if err := w.Add(name, func(to io.Writer) error {
			_, err := to.Write(files[name])
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Finish(Manifest{Position: 7, RootKey: Fingerprint([]byte("root"))}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), files
}

func readAll(r io.Reader) (m Manifest, files map[string][]byte, err error) {
	files = map[string][]byte{}
	m, err = Read(r, func(name string, content io.Reader) (err error) {
		files[name], err = io.ReadAll(content)
		return err
	})
	return m, files, err
}

func TestBackupIsReadAsWritten(t *testing.T) {
	archive, want := written(t)
	m, got, err := readAll(bytes.NewReader(archive))
	if err != nil || len(got) != len(want) {
		t.Fatalf("%d files, %v", len(got), err)
	}
	for name, content := range want {
		if !bytes.Equal(got[name], content) || !m.Holds(name) {
			t.Errorf("%s has %d bytes, want %d", name, len(got[name]), len(content))
		}
	}
	if m.Position != 7 || m.Format != Format || !m.Created.Equal(time.Unix(1700000000, 0)) || m.Holds(RootKey) {
		t.Errorf("manifest %+v", m)
	}
	if _, err := Read(bytes.NewReader(archive), func(string, io.Reader) error { return nil }); err != nil {
		t.Errorf("reading nothing of the files: %v", err)
	}
	stopped := errors.New("enough")
	if _, err := Read(bytes.NewReader(archive), func(string, io.Reader) error { return stopped }); !errors.Is(err, stopped) {
		t.Errorf("the taker's error became %v", err)
	}
}

func TestFingerprintIgnoresTheLineBreak(t *testing.T) {
	if a, b, c := Fingerprint([]byte("root")), Fingerprint([]byte("root\n")), Fingerprint([]byte("toor")); a != b || a == c || len(a) != 16 {
		t.Error(a, b, c)
	}
}

// A backup that is cut anywhere, or has a flipped bit in what it keeps, is refused.
func TestDamagedBackupsAreRefused(t *testing.T) {
	archive, files := written(t)
	ends := len(archive) - 1024 // two empty blocks, which an archive may lack
	for n := 0; n < ends-512; n += 1 + n/16 {
		if _, _, err := readAll(bytes.NewReader(archive[:n])); err == nil {
			t.Errorf("%d of %d bytes were enough", n, len(archive))
		}
	}
	for _, content := range files {
		if len(content) == 0 {
			continue
		}
		at := bytes.Index(archive, content[:min(len(content), 64)])
		flipped := slices.Clone(archive)
		flipped[at+3] ^= 1
		if _, _, err := readAll(bytes.NewReader(flipped)); err == nil || !strings.Contains(err.Error(), "does not match its checksum") {
			t.Errorf("flipped at %d: %v", at, err)
		}
	}
	var failed bytes.Buffer
	w := NewWriter(&failed, time.Unix(1700000000, 0))
	if err := w.Add(OwnKeys, func(io.Writer) error { return nil }); err != nil {
		t.Fatal(err)
	}
	w.Fail(errors.New("the ledger does not prove"))
	if _, _, err := readAll(&failed); err == nil || !strings.Contains(err.Error(), "the ledger does not prove") {
		t.Errorf("of a failed one: %v", err)
	}
}

func TestSealedBackups(t *testing.T) {
	archive, _ := written(t)
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		recipients []string
		passphrase string
		identities string
		opens      string
		wrong      string
	}{
		"not sealed": {},
		"recipient":  {recipients: []string{other.Recipient().String(), identity.Recipient().String()}, identities: "# mine\n" + identity.String() + "\n"},
		"passphrase": {passphrase: "correct horse", opens: "correct horse", wrong: "battery staple"},
	} {
		var sealed bytes.Buffer
		w, err := Seal(&sealed, c.recipients, c.passphrase)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(archive); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if encrypted := !bytes.Contains(sealed.Bytes(), []byte("shares")); encrypted != (name != "not sealed") {
			t.Errorf("%s: encrypted %v", name, encrypted)
		}
		var identities []byte
		if c.identities != "" {
			identities = []byte(c.identities)
		}
		r, err := Unseal(bytes.NewReader(sealed.Bytes()), identities, c.opens)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, _, err := readAll(r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if name == "not sealed" {
			continue
		}
		if _, err := Unseal(bytes.NewReader(sealed.Bytes()), nil, ""); !errors.Is(err, ErrEncrypted) {
			t.Errorf("%s, with nothing: %v", name, err)
		}
		if c.wrong != "" {
			if _, err := Unseal(bytes.NewReader(sealed.Bytes()), nil, c.wrong); err == nil {
				t.Errorf("%s: the wrong one opens it", name)
			}
		}
		cut, err := Unseal(bytes.NewReader(sealed.Bytes()[:sealed.Len()-2000]), identities, c.opens)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := readAll(cut); err == nil {
			t.Errorf("%s: cut, and read whole", name)
		}
	}
	if _, err := Seal(io.Discard, []string{"age1nonsense"}, ""); err == nil {
		t.Error("a recipient that is none")
	}
	if _, err := Seal(io.Discard, []string{identity.Recipient().String()}, "too"); err == nil {
		t.Error("both ways at once")
	}
	if _, err := Unseal(bytes.NewReader([]byte(ageHeader+"\n")), []byte("nonsense"), ""); err == nil || strings.Contains(err.Error(), "nonsense") {
		t.Errorf("identities that are none: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	archive, _ := written(f)
	f.Add(archive[:2048])
	f.Add(archive)
	f.Fuzz(func(t *testing.T, b []byte) {
		readAll(bytes.NewReader(b)) //nolint:errcheck // it must neither panic nor hang
	})
}
