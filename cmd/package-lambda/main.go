// Package-lambda packs a Lambda function's bootstrap into a zip.
//
//	package-lambda BOOTSTRAP ZIP
//
// The same program gives the same bytes, wherever and whenever it is packed, so
// that a checksum tells whether two zips hold the same function. zip(1) is not
// used, since it writes the file's time, owner and mode, and since not every
// machine that has Go has it.
package main

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: package-lambda BOOTSTRAP ZIP")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "package-lambda:", err)
		os.Exit(1)
	}
}

// run packs the file bootstrap into the file to, and prints what it is.
func run(bootstrap, to string, out io.Writer) error {
	program, err := os.ReadFile(bootstrap)
	if err != nil {
		return err
	}
	packed, err := pack(program)
	if err != nil {
		return fmt.Errorf("%s: %w", bootstrap, err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(to, packed, 0o644); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%x  %s  %d bytes, %d unpacked\n", sha256.Sum256(packed), to, len(packed), len(program))
	return err
}

// pack returns a zip that holds program as bootstrap, which is the name that
// Lambda's provided runtimes start, and which has to be executable.
//
// Source: Lambda Developer Guide, "Building a custom runtime".
func pack(program []byte) ([]byte, error) {
	var packed bytes.Buffer
	z := zip.NewWriter(&packed)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(w, flate.BestCompression)
	})
	header := &zip.FileHeader{Name: "bootstrap", Method: zip.Deflate}
	// The first day that the format knows. Of the field Modified, zip would
	// write an extra field as well.
	header.ModifiedDate = 1<<5 | 1 //nolint:staticcheck // see above
	header.SetMode(0o755)
	w, err := z.CreateHeader(header)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(program); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}
