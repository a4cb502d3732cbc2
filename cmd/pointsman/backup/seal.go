package backup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
)

// ageHeader begins every file in the format of age.
const ageHeader = "age-encryption.org/v1"

// ErrEncrypted: the backup is encrypted and nothing was given that opens it.
var ErrEncrypted = errors.New("the backup is encrypted: give the passphrase or the identity that opens it")

// Seal encrypts what is written to w, in the format of age, for recipients such as "age1…" or with a passphrase; either or none
// of them is given. The last bytes are written by Close.
func Seal(w io.Writer, recipients []string, passphrase string) (io.WriteCloser, error) {
	var to []age.Recipient
	for _, text := range recipients {
		parsed, err := age.ParseRecipients(bytes.NewReader([]byte(text)))
		if err != nil {
			return nil, fmt.Errorf("recipient %.80q is not one of age, which begin with age1: %w", text, err)
		}
		to = append(to, parsed...)
	}
	switch {
	case passphrase != "" && len(to) > 0:
		return nil, errors.New("a backup is encrypted for recipients or with a passphrase, not both")
	case passphrase != "":
		with, err := age.NewScryptRecipient(passphrase)
		if err != nil {
			return nil, fmt.Errorf("encrypting the backup: %w", err)
		}
		to = append(to, with)
	case len(to) == 0:
		return plain{w}, nil
	}
	sealed, err := age.Encrypt(w, to...)
	if err != nil {
		return nil, fmt.Errorf("encrypting the backup: %w", err)
	}
	return sealed, nil
}

type plain struct{ io.Writer }

// Close does nothing.
func (plain) Close() error { return nil }

// Unseal reads what Seal wrote; identities is the text of a file of age identities, or nil. What is not encrypted is read as it is.
// Errors: ErrEncrypted.
func Unseal(r io.Reader, identities []byte, passphrase string) (io.Reader, error) {
	buffered := bufio.NewReaderSize(r, 64<<10)
	if head, err := buffered.Peek(len(ageHeader)); err != nil || string(head) != ageHeader {
		return buffered, nil
	}
	var with []age.Identity
	switch {
	case identities != nil:
		parsed, err := age.ParseIdentities(bytes.NewReader(identities))
		if err != nil {
			return nil, errors.New("the file of identities holds something else than age identities, which begin with AGE-SECRET-KEY-")
		}
		with = parsed
	case passphrase != "":
		one, err := age.NewScryptIdentity(passphrase)
		if err != nil {
			return nil, fmt.Errorf("decrypting the backup: %w", err)
		}
		with = append(with, one)
	default:
		return nil, ErrEncrypted
	}
	opened, err := age.Decrypt(buffered, with...)
	if err != nil {
		return nil, fmt.Errorf("decrypting the backup: %w", err)
	}
	return opened, nil
}
