package engine

import (
	"encoding/binary"
	"testing"
)

// wavFile is a WAV file with so many bytes behind its header.
func wavFile(format, channels uint16, rate uint32, bits uint16, size int) []byte {
	b := []byte("RIFF\xff\xff\xff\xffWAVELIST\x03\x00\x00\x00abc\x00fmt \x10\x00\x00\x00")
	b = binary.LittleEndian.AppendUint16(b, format)
	b = binary.LittleEndian.AppendUint16(b, channels)
	b = binary.LittleEndian.AppendUint32(b, rate)
	b = binary.LittleEndian.AppendUint32(b, 0xffffffff) // what it says of bytes a second is not believed
	b = binary.LittleEndian.AppendUint16(b, 1)
	b = binary.LittleEndian.AppendUint16(b, bits)
	return append(append(b, "data\xff\xff\xff\xff"...), make([]byte, size)...)
}

func TestLengthOfAudio(t *testing.T) {
	for name, tc := range map[string]struct {
		file            []byte
		longest, likely float64
	}{
		"PCM":              {wavFile(1, 2, 44100, 16, 44100*4*3), 3, 3},
		"floats":           {wavFile(3, 1, 16000, 32, 16000*4*10), 10, 10},
		"another codec":    {wavFile(85, 2, 44100, 16, 80_000-56), 80, 10},
		"an absurd rate":   {wavFile(1, 2, 1<<31, 16, 80_000-56), 80, 10},
		"no channels":      {wavFile(1, 0, 44100, 16, 80_000-56), 80, 10},
		"no WAV":           {make([]byte, 80_000), 80, 10},
		"nothing":          {nil, 0, 0},
		"cut off":          {wavFile(1, 2, 44100, 16, 0)[:44], 0.044, 0.0055},
		"a chunk too long": {append([]byte("RIFF\x00\x00\x00\x00WAVEjunk\xff\xff\xff\x7f"), make([]byte, 79_980)...), 80, 10},
	} {
		near := func(a, b float64) bool { return a-b < 0.01 && b-a < 0.01 }
		if longest, likely := longestAudio(tc.file), likelyAudio(tc.file); !near(longest, tc.longest) || !near(likely, tc.likely) {
			t.Errorf("%s: %g and %g seconds, want %g and %g", name, longest, likely, tc.longest, tc.likely)
		}
	}
}

func FuzzPCMSeconds(f *testing.F) {
	f.Add(wavFile(1, 2, 44100, 16, 100))
	f.Add([]byte("RIFF\x00\x00\x00\x00WAVE"))
	f.Fuzz(func(t *testing.T, file []byte) {
		if s := pcmSeconds(file); s < 0 || s > float64(len(file)) {
			t.Errorf("%d bytes last %g s", len(file), s)
		}
	})
}
