// Package fields reads and writes the fields of binary records: varints, bytes and texts, one after the other.
package fields

import (
	"encoding/binary"
	"errors"
)

// AppendText appends a text behind its length.
func AppendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// Reader decodes fields in order. After the first field that does not fit it returns zero values; End tells.
type Reader struct {
	Rest []byte
	bad  bool
}

// ErrEncoding: a record does not consist of the fields that it should.
var ErrEncoding = errors.New("record does not decode")

// End is ErrEncoding if a field did not fit or bytes are left.
func (r *Reader) End() error {
	if r.bad || len(r.Rest) != 0 {
		return ErrEncoding
	}
	return nil
}

// Bytes reads n bytes, which share the memory of the record.
func (r *Reader) Bytes(n int) []byte {
	if n < 0 || n > len(r.Rest) {
		r.bad, r.Rest = true, nil
		return nil
	}
	b := r.Rest[:n]
	r.Rest = r.Rest[n:]
	return b
}

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if b := r.Bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// Bad tells that a field did not fit.
func (r *Reader) Bad() bool { return r.bad }

// Uvarint reads an unsigned varint.
func (r *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(r.Rest)
	if n <= 0 {
		r.bad, r.Rest = true, nil
		return 0
	}
	r.Rest = r.Rest[n:]
	return v
}

// Varint reads a signed varint.
func (r *Reader) Varint() int64 {
	u := r.Uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// Sized reads bytes behind their length.
func (r *Reader) Sized() []byte {
	n := r.Uvarint()
	if n > uint64(len(r.Rest)) {
		r.bad, r.Rest = true, nil
		return nil
	}
	return r.Bytes(int(n))
}

// Text reads a text behind its length.
func (r *Reader) Text() string { return string(r.Sized()) }
