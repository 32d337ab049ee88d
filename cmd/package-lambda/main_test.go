package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// program is not compressible, and longer than a window of the compressor.
var program = func() []byte {
	var b []byte
	for i := range 4000 {
		sum := sha256.Sum256(fmt.Append(nil, i))
		b = append(b, sum[:]...)
	}
	return b
}()

// The zip depends on nothing but the program: not on the file's name, mode and
// time, nor on where it goes.
func TestRunIsReproducible(t *testing.T) {
	var zips [][]byte
	for i, mode := range []os.FileMode{0o600, 0o755} {
		dir := t.TempDir()
		from, to := filepath.Join(dir, fmt.Sprint("program", i)), filepath.Join(dir, "dist", fmt.Sprint(i, ".zip"))
		if err := os.WriteFile(from, program, mode); err != nil {
			t.Fatal(err)
		}
		past := time.Now().Add(-time.Duration(i) * 1000 * time.Hour)
		if err := os.Chtimes(from, past, past); err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if err := run(from, to, &out); err != nil {
			t.Fatal(err)
		}
		packed, err := os.ReadFile(to)
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("%x  %s  %d bytes, %d unpacked\n", sha256.Sum256(packed), to, len(packed), len(program))
		if out.String() != want {
			t.Errorf("printed %q, want %q", &out, want)
		}
		zips = append(zips, packed)
	}
	if !bytes.Equal(zips[0], zips[1]) {
		t.Error("the same program gave two zips")
	}
}

func TestPack(t *testing.T) {
	packed, err := pack(program)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	if err != nil {
		t.Fatal(err)
	}
	if len(z.File) != 1 {
		t.Fatalf("%d files, want 1", len(z.File))
	}
	f := z.File[0]
	if f.Name != "bootstrap" || f.Mode() != 0o755 || len(f.Extra) != 0 || f.Comment != "" ||
		!f.Modified.Equal(time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%s, %v, %v, extra %x; want bootstrap, -rwxr-xr-x, 1980-01-01, none", f.Name, f.Mode(), f.Modified, f.Extra)
	}
	r, err := f.Open()
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r) // checks the CRC, too
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, program) {
		t.Error("bootstrap is not the program")
	}
}

func TestRunFails(t *testing.T) {
	dir := t.TempDir()
	if err := run(filepath.Join(dir, "none"), filepath.Join(dir, "z.zip"), io.Discard); err == nil {
		t.Error("no error without a program")
	}
	if _, err := os.Stat(filepath.Join(dir, "z.zip")); err == nil {
		t.Error("a zip was written without a program")
	}
}
