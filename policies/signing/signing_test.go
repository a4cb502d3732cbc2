package signing_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"aead.dev/minisign"

	"github.com/pointsman/pointsman/policies/builtin"
	"github.com/pointsman/pointsman/policies/signing"
	"github.com/pointsman/pointsman/sdk/abi"
)

func newKey(t *testing.T, password string) (signing.PublicKey, signing.SecretKey) {
	t.Helper()
	public, _, secretFile, err := signing.NewKey(password)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := signing.OpenKey(secretFile, password)
	if err != nil {
		t.Fatal(err)
	}
	return public, secret
}

func TestVerify(t *testing.T) {
	wasm := builtin.Modules()["eco"]
	public, secret := newKey(t, "")
	stranger, _ := newKey(t, "")
	good := string(signing.Sign(secret, wasm, abi.GrantText, 5_000_000))
	trust := signing.Trust{Keys: []signing.PublicKey{stranger, public}}
	comment := func(text string) string {
		r := minisign.NewReader(strings.NewReader(string(wasm)))
		buffer := make([]byte, len(wasm)+1)
		_, _ = r.Read(buffer)
		return string(r.SignWithComments(secret, text, "x"))
	}
	digest := signing.Digest(wasm)
	for _, c := range []struct {
		name      string
		trust     signing.Trust
		signature string
		wasm      []byte
		want      error
		text      string
	}{
		{"good", trust, good, wasm, nil, ""},
		{"good although unsigned ones are allowed", signing.Trust{Keys: trust.Keys, AllowUnsigned: true}, good, wasm, nil, ""},
		{"unsigned", trust, "", wasm, signing.ErrUnsigned, "trusted_keys"},
		{"unsigned and allowed", signing.Trust{Keys: trust.Keys, AllowUnsigned: true}, "", wasm, nil, ""},
		{"unsigned without keys", signing.Trust{}, "", wasm, nil, ""},
		{"signed without keys", signing.Trust{}, "anything", wasm, nil, ""},
		{"a byte of the module", trust, good, append([]byte{1}, wasm[1:]...), signing.ErrSignature, "did not sign"},
		{"a byte of the module, unsigned allowed", signing.Trust{Keys: trust.Keys, AllowUnsigned: true}, good, wasm[1:], signing.ErrSignature, "did not sign"},
		{"more fuel", trust, strings.Replace(good, "fuel=5000000", "fuel=50000000", 1), wasm, signing.ErrSignature, "changed"},
		{"more grants", trust, strings.Replace(good, "features,text", "features,text,state", 1), wasm, signing.ErrSignature, "changed"},
		{"of a stranger", signing.Trust{Keys: []signing.PublicKey{stranger}}, good, wasm, signing.ErrSignature, "trusted are " + stranger.ID()},
		{"not a signature", trust, "hello", wasm, signing.ErrSignature, "format"},
		{"huge", trust, good + strings.Repeat("\n", 5000), wasm, signing.ErrSignature, "bytes"},
		{"legacy", trust, string(minisign.SignWithComments(secret, wasm, "x", "y")), wasm, signing.ErrSignature, "legacy"},
		{"an ordinary comment", trust, comment("timestamp:1"), wasm, signing.ErrSignature, "does not begin"},
		{"no sum", trust, comment("pointsman policy abi=1 grants=features fuel=1"), wasm, signing.ErrSignature, "sha256 is missing"},
		{"another sum", trust, comment("pointsman policy abi=1 grants=features fuel=1 sha256=" + strings.Repeat("0", 64)), wasm, signing.ErrSignature, "states"},
		{"another contract", trust, comment("pointsman policy abi=2 grants=features fuel=1 sha256=" + digest), wasm, signing.ErrSignature, "version 2"},
		{"a field twice", trust, comment("pointsman policy abi=1 fuel=1 grants=features fuel=9 sha256=" + digest), wasm, signing.ErrSignature, "twice"},
		{"an unknown field", trust, comment("pointsman policy abi=1 fuel=1 grants=features until=9 sha256=" + digest), wasm, signing.ErrSignature, "unknown"},
		{"an unknown grant", trust, comment("pointsman policy abi=1 fuel=1 grants=everything sha256=" + digest), wasm, signing.ErrSignature, "everything"},
		{"no fuel", trust, comment("pointsman policy abi=1 fuel=0 grants=features sha256=" + digest), wasm, signing.ErrSignature, "above 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			signer, statement, err := c.trust.Verify(c.wasm, []byte(c.signature))
			if !errors.Is(err, c.want) || (err != nil && !strings.Contains(err.Error(), c.text)) {
				t.Fatalf("error %v, want %v with %q", err, c.want, c.text)
			}
			if signed := c.want == nil && c.signature == good; signed != (signer == public.ID()) || signed != (statement != nil) {
				t.Errorf("signer %q, statement %v", signer, statement)
			}
		})
	}
}

// FuzzVerify changes a good signature: it is refused, or it states exactly what was signed.
func FuzzVerify(f *testing.F) {
	wasm := builtin.Modules()["eco"]
	public, _, file, err := signing.NewKey("")
	if err != nil {
		f.Fatal(err)
	}
	secret, err := signing.OpenKey(file, "")
	if err != nil {
		f.Fatal(err)
	}
	good := signing.Sign(secret, wasm, abi.GrantText, 5_000_000)
	f.Add([]byte(good))
	f.Add([]byte(strings.Replace(string(good), "fuel=5", "fuel=9", 1)))
	f.Add([]byte("untrusted comment: x\n\ntrusted comment: pointsman policy abi=1\n"))
	trust := signing.Trust{Keys: []signing.PublicKey{public}}
	f.Fuzz(func(t *testing.T, signature []byte) {
		_, s, err := trust.Verify(wasm, signature)
		if err == nil && s != nil && (s.Grants != abi.GrantText || s.Fuel != 5_000_000) {
			t.Errorf("%q is taken for %v", signature, s)
		}
		if _, err := signing.ParseStatement(string(signature)); err != nil && !errors.Is(err, signing.ErrSignature) {
			t.Error(err)
		}
	})
}

func TestLimit(t *testing.T) {
	s := &signing.Statement{Grants: abi.GrantText, Fuel: 1000}
	for _, c := range []struct {
		name       string
		s          *signing.Statement
		grants     uint32
		fuel, want int64
		err        error
	}{
		{"as signed", s, abi.GrantText, 1000, 1000, nil},
		{"less", s, 0, 10, 10, nil},
		{"the default is more", s, 0, 0, 1000, nil},
		{"more fuel", s, 0, 1001, 0, signing.ErrLimits},
		{"more grants", s, abi.GrantText | abi.GrantState, 0, 0, signing.ErrLimits},
		{"unsigned", nil, abi.GrantState, 9_999_999, 9_999_999, nil},
		{"unsigned by default", nil, 0, 0, 5000, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.s.Limit(c.grants, c.fuel, 5000)
			if got != c.want || !errors.Is(err, c.err) {
				t.Errorf("%d, %v", got, err)
			}
		})
	}
}

// TestPassword opens an encrypted key. Minisign's own cost takes seconds and a GiB, so the key of testdata was encrypted
// with a lower one, which stands in the file.
func TestPassword(t *testing.T) {
	file, err := os.ReadFile("testdata/encrypted.key")
	if err != nil {
		t.Fatal(err)
	}
	if !signing.Encrypted(file) {
		t.Error("the secret key is not encrypted")
	}
	public, err := os.ReadFile("testdata/minisign.pub")
	if err != nil {
		t.Fatal(err)
	}
	secret, err := signing.OpenKey(file, "correct horse")
	if err != nil || !strings.Contains(string(public), signing.PublicOf(secret).String()) {
		t.Errorf("key %v, %v", signing.PublicOf(secret), err)
	}
	for _, password := range []string{"", "wrong"} {
		if _, err := signing.OpenKey(file, password); !errors.Is(err, signing.ErrKey) {
			t.Errorf("password %q: %v", password, err)
		}
	}
}

func TestKeys(t *testing.T) {
	public, secret := newKey(t, "")
	if again, err := signing.ParsePublicKey("untrusted comment: x\n" + public.String() + "\n"); err != nil || again.ID() != public.ID() {
		t.Errorf("%v %v", again, err)
	}
	if signing.PublicOf(secret).String() != public.String() {
		t.Error("another public key")
	}
	for _, text := range []string{"", "RW", "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO", public.String() + "A"} {
		if _, err := signing.ParsePublicKey(text); !errors.Is(err, signing.ErrKey) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := signing.OpenKey([]byte("hello"), ""); !errors.Is(err, signing.ErrKey) {
		t.Error(err)
	}
}

// TestSignedByMinisign verifies what the stock tool signed: testdata was made by minisign 0.11 with -S -t.
func TestSignedByMinisign(t *testing.T) {
	read := func(name string) []byte {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	public, err := signing.ParsePublicKey(string(read("minisign.pub")))
	if err != nil {
		t.Fatal(err)
	}
	_, s, err := signing.Trust{Keys: []signing.PublicKey{public}}.Verify(read("module.wasm"), read("module.wasm.minisig"))
	if err != nil || s.Fuel != 77 || s.Grants != abi.GrantState {
		t.Errorf("%v, %v", s, err)
	}
}

// TestVerifiedByMinisign lets the stock tool, if it is installed, verify what is signed here.
func TestVerifiedByMinisign(t *testing.T) {
	tool, err := exec.LookPath("minisign")
	if err != nil {
		t.Log("minisign is not installed: what it would say was not seen")
		return
	}
	dir := t.TempDir()
	wasm := builtin.Modules()["eco"]
	_, publicFile, secretFile, err := signing.NewKey("")
	if err != nil {
		t.Fatal(err)
	}
	secret, err := signing.OpenKey(secretFile, "")
	if err != nil {
		t.Fatal(err)
	}
	signature := signing.Sign(secret, wasm, abi.GrantText, 1000)
	for name, content := range map[string][]byte{"eco.wasm": wasm, "eco.wasm.minisig": signature, "k.pub": publicFile} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(tool, "-V", "-p", "k.pub", "-m", "eco.wasm")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "pointsman policy abi=1 grants=features,text fuel=1000") {
		t.Errorf("minisign says %s, %v", out, err)
	}
}
