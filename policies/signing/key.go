package signing

import (
	"fmt"

	"aead.dev/minisign"
)

// NewKey makes a key pair and returns the texts of its two files, the secret one encrypted with the password unless that is
// empty.
func NewKey(password string) (public PublicKey, publicFile, secretFile []byte, err error) {
	pub, secret, err := minisign.GenerateKey(nil)
	if err != nil {
		return PublicKey{}, nil, nil, fmt.Errorf("making a key: %w", err)
	}
	if publicFile, err = pub.MarshalText(); err != nil {
		return PublicKey{}, nil, nil, fmt.Errorf("making a key: %w", err)
	}
	if password == "" {
		secretFile, err = secret.MarshalText()
	} else {
		secretFile, err = minisign.EncryptKey(password, secret)
	}
	if err != nil {
		return PublicKey{}, nil, nil, fmt.Errorf("making a key: %w", err)
	}
	return PublicKey{pub}, append(publicFile, '\n'), append(secretFile, '\n'), nil
}

// SecretKey signs modules.
type SecretKey = minisign.PrivateKey

// Encrypted tells whether a secret key file needs a password.
func Encrypted(file []byte) bool { return minisign.IsEncrypted(file) }

// OpenKey reads a secret key file. The error wraps [ErrKey] and holds nothing of the file.
func OpenKey(file []byte, password string) (SecretKey, error) {
	if Encrypted(file) {
		key, err := minisign.DecryptKey(password, file)
		if err != nil {
			return SecretKey{}, fmt.Errorf("%w: the password does not open it", ErrKey)
		}
		return key, nil
	}
	var key SecretKey
	if err := key.UnmarshalText(file); err != nil {
		return SecretKey{}, fmt.Errorf("%w: it is no secret key file of minisign", ErrKey)
	}
	return key, nil
}

// PublicOf is the public key of a secret one.
func PublicOf(key SecretKey) PublicKey { return PublicKey{key.Public().(minisign.PublicKey)} }
