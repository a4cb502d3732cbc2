package signing

import (
	"fmt"
	"strings"

	"aead.dev/minisign"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// PublicKey verifies signatures. The zero value verifies none.
type PublicKey struct{ key minisign.PublicKey }

// ParsePublicKey reads a public key: the line RW… or the text of a .pub file. The error wraps [ErrKey].
func ParsePublicKey(text string) (PublicKey, error) {
	var k PublicKey
	if err := k.key.UnmarshalText([]byte(strings.TrimSpace(text))); err != nil {
		return PublicKey{}, fmt.Errorf("%w: %.80q is no public key of minisign, which begins with RW", ErrKey, text)
	}
	return k, nil
}

// String is the key as one line, RW….
func (k PublicKey) String() string { return k.key.String() }

// ID is how signatures refer to the key, 16 hex digits.
func (k PublicKey) ID() string { return fmt.Sprintf("%016X", k.key.ID()) }

// Trust is whose signatures an operator accepts.
type Trust struct {
	Keys          []PublicKey
	AllowUnsigned bool // modules without a signature are accepted although there are keys; bad signatures never are
}

// Required tells whether a module must be signed.
func (t Trust) Required() bool { return len(t.Keys) > 0 && !t.AllowUnsigned }

// Verify finds who signed a module and for what. Without a signature, and without keys to check one with, the signer is ""
// and the statement nil. The error wraps [ErrUnsigned] or [ErrSignature].
func (t Trust) Verify(wasm, signature []byte) (signer string, s *Statement, err error) {
	switch {
	case len(signature) == 0 && t.Required():
		return "", nil, fmt.Errorf("%w, and [policies] trusted_keys asks for a signature", ErrUnsigned)
	case len(signature) == 0 || len(t.Keys) == 0:
		return "", nil, nil
	case len(signature) > maxSignature:
		return "", nil, fmt.Errorf("%w: it has %d bytes, more than %d", ErrSignature, len(signature), maxSignature)
	}
	var sig minisign.Signature
	if err := sig.UnmarshalText(signature); err != nil {
		return "", nil, fmt.Errorf("%w: it is not in the format of minisign", ErrSignature)
	}
	if sig.Algorithm != minisign.HashEdDSA {
		return "", nil, fmt.Errorf("%w: it is of minisign's legacy kind, which is not prehashed", ErrSignature)
	}
	var known []string
	for _, k := range t.Keys {
		known = append(known, k.ID())
		if k.key.ID() != sig.KeyID {
			continue
		}
		if !minisign.Verify(k.key, wasm, signature) {
			return "", nil, fmt.Errorf("%w: key %s did not sign this module, or the signature was changed", ErrSignature, k.ID())
		}
		statement, err := ParseStatement(sig.TrustedComment)
		if err != nil {
			return "", nil, err
		}
		if digest := Digest(wasm); statement.SHA256 != digest {
			return "", nil, fmt.Errorf("%w: it states the SHA-256 %.12s…, the module's is %.12s…", ErrSignature, statement.SHA256, digest)
		}
		if statement.ABI != abi.Version {
			return "", nil, fmt.Errorf("%w: it is for version %d of the contract, this is %d", ErrSignature, statement.ABI, abi.Version)
		}
		return k.ID(), &statement, nil
	}
	return "", nil, fmt.Errorf("%w: it is by key %016X, and trusted are %s", ErrSignature, sig.KeyID, strings.Join(known, ", "))
}

// Limit checks what a policy is to be given against what was vouched for, and returns the fuel it gets: the configured, or
// if that is 0 the lesser of the default and the signed. A nil statement limits nothing. The error wraps [ErrLimits].
func (s *Statement) Limit(grants uint32, fuel, otherwise int64) (int64, error) {
	switch {
	case s == nil && fuel == 0:
		return otherwise, nil
	case s == nil:
		return fuel, nil
	case grants&^s.Grants != 0:
		return 0, fmt.Errorf("%w: grants %s", ErrLimits, strings.Join(policy.GrantNames(grants&^s.Grants), ", "))
	case fuel > s.Fuel:
		return 0, fmt.Errorf("%w: fuel %d, signed %d", ErrLimits, fuel, s.Fuel)
	case fuel == 0:
		return min(otherwise, s.Fuel), nil
	}
	return fuel, nil
}
