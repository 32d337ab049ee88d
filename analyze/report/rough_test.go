package report

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func write(text string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}
}

// A report can go to a pipe, as of a shell's >(...). Once, the rename put a
// file into the place of the device.
func TestReplaceFileWritesToAPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	name := fmt.Sprintf("/dev/fd/%d", w.Fd())
	if _, err := os.Stat(name); err != nil {
		t.Skip("pipes have no names here")
	}
	err = ReplaceFile(name, write("all"))
	w.Close()
	got, _ := io.ReadAll(r)
	if err != nil || string(got) != "all" {
		t.Errorf("got %q, %v, want all of it", got, err)
	}
}

func TestReplaceFileKeepsASymbolicLink(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	if err := os.WriteFile(target, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Skip(err)
	}
	err := ReplaceFile(link, write("new"))
	got, _ := os.ReadFile(target)
	info, statErr := os.Lstat(link)
	if err != nil || statErr != nil || string(got) != "new" || info.Mode().Type() != os.ModeSymlink {
		t.Errorf("got %q, %v, %v, want the new text behind the link", got, err, statErr)
	}
}
