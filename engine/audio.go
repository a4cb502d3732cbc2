package engine

import (
	"bytes"
	"encoding/binary"
)

// What the length of audio is taken to be from the size of its file, in bytes a second. Files of PCM tell it exactly.
const (
	leastAudioRate = 1000 // 8 kbit/s: what credits are held for; speech is seldom packed tighter
	usualAudioRate = 8000 // 64 kbit/s: what is charged if the provider does not tell
)

// longestAudio is how long the audio of a file may be at most, in seconds.
func longestAudio(file []byte) float64 {
	if s := pcmSeconds(file); s > 0 {
		return s
	}
	return float64(len(file)) / leastAudioRate
}

// likelyAudio is how long the audio of a file probably is, in seconds.
func likelyAudio(file []byte) float64 {
	if s := pcmSeconds(file); s > 0 {
		return s
	}
	return float64(len(file)) / usualAudioRate
}

// pcmSeconds is the length of a WAV file of uncompressed samples, 0 for any other file. Only what also decides how it sounds
// is believed: the rate, the channels and the size of a sample, not the sizes and rates that are told beside.
func pcmSeconds(file []byte) float64 {
	if len(file) < 44 || !bytes.HasPrefix(file, []byte("RIFF")) || string(file[8:12]) != "WAVE" {
		return 0
	}
	for at := 12; at+8 <= len(file); {
		size := int64(binary.LittleEndian.Uint32(file[at+4:]))
		chunk := file[at+8:]
		if string(file[at:at+4]) == "fmt " && size >= 16 && len(chunk) >= 16 {
			format, channels := binary.LittleEndian.Uint16(chunk), int64(binary.LittleEndian.Uint16(chunk[2:]))
			rate, bits := int64(binary.LittleEndian.Uint32(chunk[4:])), int64(binary.LittleEndian.Uint16(chunk[14:]))
			if format != 1 && format != 3 || channels < 1 || channels > 16 || rate < 4000 || rate > 192_000 || bits < 8 || bits > 64 {
				return 0
			}
			return float64(len(file)) / float64(rate*channels*((bits+7)/8))
		}
		if size += size % 2; size > int64(len(chunk)) {
			return 0
		}
		at += 8 + int(size)
	}
	return 0
}
