package vault

import (
	"fmt"
	"os"
	"path/filepath"
)

// open reads the key-encryption keys that the ring names, and the pepper. found is nil if there is no ring yet.
func (v *Vault) open(found *ring) error {
	configured := v.configured()
	if found == nil {
		made, err := v.firstRing(configured)
		if err != nil {
			return err
		}
		found = made
	}
	v.ring = *found
	if err := v.readKEKs(configured); err != nil {
		return err
	}
	pepper, err := openPepper(v.active, v.ring.Active)
	if err != nil {
		return fmt.Errorf("%w: the pepper in %s is damaged; restore the file from a backup", ErrKEK, filepath.Join(v.config.Dir, ringFile))
	}
	v.pepper = pepper
	if v.drift == "" && v.active.source != v.ring.Active.Source { // the same key, kept elsewhere now
		v.ring.Active.Source, v.ring.Supersedes = v.active.source, ""
		if err := v.ring.write(v.config.Dir); err != nil {
			return err
		}
	}
	return v.shares.mark()
}

// configured is the source that the configuration names.
func (v *Vault) configured() Source {
	if v.config.KEK != "" {
		return v.config.KEK
	}
	return defaultSource
}

// readKEK reads the key-encryption key of a source. The path of the default one is relative to the directory, which may be
// moved.
func (v *Vault) readKEK(source Source) (*kek, error) {
	from := source
	if source == defaultSource {
		from = Source("file:" + filepath.Join(v.config.Dir, rootKeyFile))
	}
	secret, err := from.read(v.config.Env)
	if err != nil {
		return nil, err
	}
	return newKEK(secret, source)
}

// firstRing makes the ring of a directory that has none: a fresh one, or one of an earlier build, whose key-encryption key and
// pepper both follow from root.key.
func (v *Vault) firstRing(source Source) (*ring, error) {
	path := filepath.Join(v.config.Dir, rootKeyFile)
	_, err := os.Stat(path)
	exists := err == nil
	switch {
	case v.shares.marked():
		return nil, fmt.Errorf("%w: %s is missing; restore it from a backup, without it no virtual key is recognized", ErrKEK, filepath.Join(v.config.Dir, ringFile))
	case !v.config.Fresh && !exists:
		return nil, fmt.Errorf("%w: %s is missing; restore it from a backup, together with %s and %s if they are in it", ErrKEK, path, ringFile, sharesFile)
	case source == defaultSource:
		if _, err := ReadOrCreateSecret(path, newSecretText); err != nil {
			return nil, err
		}
	case !v.config.Fresh:
		source = defaultSource // until it is rotated
	}
	first, err := v.readKEK(source)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKEK, err)
	}
	defer first.clear()
	pepper := first.pepper
	if v.config.Fresh {
		pepper = random(secretSize)
	}
	entry, err := sealPepper(first, pepper)
	if err != nil {
		return nil, err
	}
	r := &ring{Format: ringFormat, Active: entry}
	return r, r.write(v.config.Dir)
}

// readKEKs reads the key-encryption keys that the ring needs. The configured source must give one of them, unless the vault
// was rotated away from it and the configuration was not edited since.
func (v *Vault) readKEKs(configured Source) error {
	r := &v.ring
	if configured == r.Supersedes {
		v.drift = driftOf(configured, r.Active.Source)
	} else {
		k, err := v.readKEK(configured)
		if err != nil {
			return fmt.Errorf("%w: %w; it needs the key-encryption key with id %s", ErrKEK, err, r.Active.ID)
		}
		switch {
		case k.id.String() == r.Active.ID:
			v.active = k
		case r.Next != nil && k.id.String() == r.Next.ID:
			v.next = k
		default:
			k.clear()
			return fmt.Errorf("%w: the key-encryption key from %s has id %s, it needs id %s, last read from %s; set [vault] kek to where that is, and change it with `pointsman vault rotate`",
				ErrKEK, configured, k.id, r.Active.ID, r.Active.Source)
		}
	}
	if v.active == nil {
		if err := v.readNamed(&v.active, r.Active); err != nil {
			return err
		}
	}
	if v.next == nil && r.Next != nil {
		return v.readNamed(&v.next, *r.Next)
	}
	return nil
}

// readNamed reads the key-encryption key of an entry of the ring.
func (v *Vault) readNamed(into **kek, entry ringKey) error {
	k, err := v.readKEK(entry.Source)
	if err != nil {
		return fmt.Errorf("%w: %w; it needs the key-encryption key with id %s", ErrKEK, err, entry.ID)
	}
	if k.id.String() != entry.ID {
		k.clear()
		return fmt.Errorf("%w: the key-encryption key from %s has id %s, it needs id %s", ErrKEK, entry.Source, k.id, entry.ID)
	}
	*into = k
	return nil
}
