// Command gunzip decompresses gzip files in parallel and counts the bytes:
// what decoding costs at least, with the two libraries that Go has.
//
//	gunzip --library klauspost|standard --jobs N FILE...
package main

import (
	stdgzip "compress/gzip"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sync/errgroup"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "gunzip:", err)
		os.Exit(1)
	}
}

// reader is what both libraries' readers are.
type reader interface {
	io.Reader
	Reset(r io.Reader) error
}

var libraries = map[string]func() reader{
	"klauspost": func() reader { return new(gzip.Reader) },
	"standard":  func() reader { return new(stdgzip.Reader) },
}

func run(args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("gunzip", flag.ContinueOnError)
	library := flags.String("library", "klauspost", "klauspost or standard")
	jobs := flags.Int("jobs", 2, "files at once")
	if err := flags.Parse(args); err != nil {
		return err
	}
	newReader, ok := libraries[*library]
	if !ok {
		return fmt.Errorf("%q is no library; give klauspost or standard", *library)
	}
	if *jobs < 1 {
		return errors.New("the number of jobs must be above 0")
	}
	var total atomic.Int64
	places := make(chan string)
	var group errgroup.Group
	for range *jobs {
		group.Go(func() error {
			n, err := count(newReader(), places)
			total.Add(n)
			for range places { // an error shall not stop who sends them
			}
			return err
		})
	}
	for _, place := range flags.Args() {
		places <- place
	}
	close(places)
	if err := group.Wait(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(stdout, "bytes %d\n", total.Load())
	return err
}

// count decompresses the files at places one after the other.
func count(r reader, places <-chan string) (total int64, err error) {
	buffer := make([]byte, 256<<10)
	for place := range places {
		n, err := countFile(r, place, buffer)
		if err != nil {
			return total, fmt.Errorf("%s: %w", place, err)
		}
		total += n
	}
	return total, nil
}

func countFile(r reader, place string, buffer []byte) (int64, error) {
	f, err := os.Open(place)
	if err != nil {
		return 0, err
	}
	defer f.Close() //nolint:errcheck // of what was only read
	if err := r.Reset(f); err != nil {
		return 0, err
	}
	return io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, buffer)
}
