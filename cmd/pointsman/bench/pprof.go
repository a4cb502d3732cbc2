package bench

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
)

// stacks is what a CPU profile in pprof's format holds, as far as it is used here.
type stacks struct {
	samples []stack
	names   map[uint64][]string // of the functions at a location, innermost first
}

// stack is where some CPU time was spent.
type stack struct {
	locations   []uint64 // innermost first
	nanoseconds int64
}

var errProfile = errors.New("not a CPU profile")

// readStacks decodes a compressed profile.
func readStacks(r io.Reader) (*stacks, error) {
	unzipped, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errProfile, err)
	}
	data, err := io.ReadAll(unzipped)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errProfile, err)
	}
	s := &stacks{names: map[uint64][]string{}}
	var texts []string
	functions := map[uint64]uint64{} // id to the number of its name's text
	lines := map[uint64][]uint64{}   // location to functions
	err = eachField(data, func(number protowire.Number, value uint64, message []byte) error {
		switch number {
		case 2:
			sample, err := readSample(message)
			s.samples = append(s.samples, sample)
			return err
		case 4:
			id, of, err := readLocation(message)
			lines[id] = of
			return err
		case 5:
			id, name, err := readFunction(message)
			functions[id] = name
			return err
		case 6:
			texts = append(texts, string(message))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for id, of := range lines {
		for _, f := range of {
			if n := functions[f]; n < uint64(len(texts)) {
				s.names[id] = append(s.names[id], texts[n])
			}
		}
	}
	return s, nil
}

// readSample reads locations and values, of which the last is time.
func readSample(message []byte) (s stack, err error) {
	var values []uint64
	err = eachField(message, func(number protowire.Number, value uint64, packed []byte) error {
		into := &s.locations
		if number == 2 {
			into = &values
		} else if number != 1 {
			return nil
		}
		if packed == nil {
			*into = append(*into, value)
			return nil
		}
		for len(packed) > 0 {
			v, n := protowire.ConsumeVarint(packed)
			if n < 0 {
				return errProfile
			}
			*into, packed = append(*into, v), packed[n:]
		}
		return nil
	})
	if len(values) > 0 {
		s.nanoseconds = int64(values[len(values)-1])
	}
	return s, err
}

func readLocation(message []byte) (id uint64, functions []uint64, err error) {
	err = eachField(message, func(number protowire.Number, value uint64, line []byte) error {
		switch number {
		case 1:
			id = value
		case 4:
			return eachField(line, func(number protowire.Number, value uint64, _ []byte) error {
				if number == 1 {
					functions = append(functions, value)
				}
				return nil
			})
		}
		return nil
	})
	return id, functions, err
}

func readFunction(message []byte) (id, name uint64, err error) {
	err = eachField(message, func(number protowire.Number, value uint64, _ []byte) error {
		switch number {
		case 1:
			id = value
		case 2:
			name = value
		}
		return nil
	})
	return id, name, err
}

// eachField visits the fields of a message: numbers with a nil message, all others with their bytes.
func eachField(data []byte, visit func(number protowire.Number, value uint64, message []byte) error) error {
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return errProfile
		}
		data = data[n:]
		var value uint64
		var message []byte
		switch kind {
		case protowire.VarintType:
			value, n = protowire.ConsumeVarint(data)
		case protowire.BytesType:
			message, n = protowire.ConsumeBytes(data)
		default:
			n = protowire.ConsumeFieldValue(number, kind, data)
		}
		if n < 0 {
			return errProfile
		}
		data = data[n:]
		if err := visit(number, value, message); err != nil {
			return err
		}
	}
	return nil
}
