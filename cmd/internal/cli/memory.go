package cli

import (
	"os"
	"runtime/debug"

	"github.com/dustin/go-humanize"
)

// memory is about the most bytes that the program is to use, of which each
// part gets its share.
type memory int64

// leastMemory is about what decoding two objects at once, and the tables that
// do not spill, take in any case.
const leastMemory = 128 << 20

func parseMemory(text string) (memory, error) {
	n, err := humanize.ParseBytes(text)
	switch {
	case err != nil:
		return 0, usageError("--max-memory %s is no size; give one such as 512MiB or 2GiB", text)
	case n < leastMemory:
		return 0, usageError("--max-memory %s is too little; give 128MiB or more", text)
	case n > 1<<60:
		return 0, usageError("--max-memory %s is more than any machine has", text)
	}
	return memory(n), nil
}

// tables is the share of the records that wait for the end of their
// connection.
func (m memory) tables() int64 { return int64(m) / 3 }

// readAhead is the share of what was fetched and not yet decoded.
func (m memory) readAhead() int64 { return min(64<<20, int64(m)/8) }

// objects is how many objects are decoded ahead. In Parquet, each may take
// some 10 MB.
func (m memory) objects() int { return int(min(16, max(4, m/(32<<20)))) }

// limit has the garbage collector keep to the limit as far as it can. A limit
// in the environment goes before.
func (m memory) limit() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(m))
	}
}
