// Package signing says who vouches for a policy module, and for how much: signatures in the format of minisign, with the
// limits that were vouched for in the trusted comment.
//
// What is signed is the module file itself, prehashed (ed25519 over BLAKE2b-512), so that the stock tool verifies it:
//
//	minisign -V -P RW… -m mine.wasm
//
// The trusted comment, which minisign's second signature covers, is a [Statement]:
//
//	pointsman policy abi=1 grants=features,text fuel=5000000 sha256=2c26b4…
//
// A gateway gives the module no grant and no fuel beyond it. A signature without such a comment is good for minisign and
// not for a gateway: nobody said with it what the module may be given.
//
// Secret keys are files of minisign's too, encrypted with a password (scrypt, one GiB of memory) or, on purpose, not.
package signing

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"aead.dev/minisign"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// Errors of this package.
var (
	// ErrUnsigned: there is no signature, and one is required.
	ErrUnsigned = errors.New("policy is not signed")
	// ErrSignature: the signature is malformed, does not belong to the module, or is of a key that is not trusted.
	ErrSignature = errors.New("policy signature is not valid")
	// ErrLimits: the policy is to get more than was vouched for.
	ErrLimits = errors.New("policy is given more than was signed for")
	// ErrKey: a key is malformed or the password does not open it.
	ErrKey = errors.New("signing key is not usable")
)

// maxSignature is more than any signature needs.
const maxSignature = 4 << 10

// Statement is what a signer vouches for.
type Statement struct {
	ABI    int    // version of the contract
	Grants uint32 // abi.Grant* bits the module may be given at most
	Fuel   int64  // of one decision, for each 64 candidates, at most
	SHA256 string // of the module, hexadecimal
}

// String is the statement as a trusted comment.
func (s Statement) String() string {
	grants := append([]string{"features"}, policy.GrantNames(s.Grants)...)
	return fmt.Sprintf("pointsman policy abi=%d grants=%s fuel=%d sha256=%s", s.ABI, strings.Join(grants, ","), s.Fuel, s.SHA256)
}

// ParseStatement reads a trusted comment. Each field stands in it once; a field that is unknown is an error, because it may
// limit something. The error wraps [ErrSignature].
func ParseStatement(comment string) (Statement, error) {
	var s Statement
	bad := func(format string, args ...any) (Statement, error) {
		return Statement{}, fmt.Errorf("%w: its trusted comment %.120q is not a statement of pointsman policy sign: %s", ErrSignature, comment, fmt.Sprintf(format, args...))
	}
	rest, ok := strings.CutPrefix(comment, "pointsman policy ")
	if !ok {
		return bad("it does not begin with \"pointsman policy\"")
	}
	seen := map[string]bool{}
	for _, field := range strings.Fields(rest) {
		key, value, _ := strings.Cut(field, "=")
		if seen[key] {
			return bad("%q stands there twice", key)
		}
		seen[key] = true
		var err error
		switch key {
		case "abi":
			s.ABI, err = strconv.Atoi(value)
		case "grants":
			s.Grants, err = ParseGrants(strings.Split(value, ","))
		case "fuel":
			if s.Fuel, err = strconv.ParseInt(value, 10, 64); err == nil && s.Fuel <= 0 {
				err = errors.New("it must be above 0")
			}
		case "sha256":
			if sum, e := hex.DecodeString(value); e != nil || len(sum) != sha256.Size || value != strings.ToLower(value) {
				err = errors.New("it must be 64 lower-case hex digits")
			}
			s.SHA256 = value
		default:
			err = errors.New("it is unknown")
		}
		if err != nil {
			return bad("%s: %v", key, err)
		}
	}
	for _, key := range []string{"abi", "grants", "fuel", "sha256"} {
		if !seen[key] {
			return bad("%s is missing", key)
		}
	}
	return s, nil
}

// ParseGrants gives the abi.Grant* bits of names.
func ParseGrants(names []string) (grants uint32, err error) {
	for _, name := range names {
		bit, ok := policy.ParseGrant(name)
		if !ok {
			return 0, fmt.Errorf("there is no grant %.40q; there are features, text, metadata, side_calls and state", name)
		}
		grants |= bit
	}
	return grants, nil
}

// Digest is the hexadecimal SHA-256 of a module.
func Digest(wasm []byte) string {
	sum := sha256.Sum256(wasm)
	return hex.EncodeToString(sum[:])
}

// Sign signs a module with the limits that are vouched for, and returns the text of the signature file.
func Sign(key SecretKey, wasm []byte, grants uint32, fuel int64) []byte {
	statement := Statement{ABI: abi.Version, Grants: grants, Fuel: fuel, SHA256: Digest(wasm)}
	r := minisign.NewReader(bytes.NewReader(wasm))
	_, _ = io.Copy(io.Discard, r) // reads memory, into a hash
	return r.SignWithComments(key, statement.String(), fmt.Sprintf("signature by key %016X, made with pointsman policy sign", key.ID()))
}
