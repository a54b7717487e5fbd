package ingest

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"

	"github.com/visutility/visutility"
)

const limit = 1 << 20

func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstded(t testing.TB, b []byte, o ...zstd.EOption) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, o...)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(b, nil)
}

func TestReadBody(t *testing.T) {
	budget := NewBudget(64 << 20)
	for _, size := range []int{0, 1, firstRead - 1, firstRead, firstRead + 1, 100_000, limit - 1, limit} {
		want := bytes.Repeat([]byte("metric! "), size/8+1)[:size]
		for encoding, body := range map[string][]byte{"": want, "identity": want, "gzip": gzipped(t, want), "X-GZIP": gzipped(t, want), " Zstd ": zstded(t, want)} {
			for _, r := range []io.Reader{bytes.NewReader(body), iotest.HalfReader(bytes.NewReader(body)), iotest.DataErrReader(bytes.NewReader(body))} {
				got, err := ReadBody(r, encoding, limit, budget)
				if err != nil {
					t.Fatalf("%q of %d: %v", encoding, size, err)
				}
				if !bytes.Equal(got.Bytes, want) {
					t.Fatalf("%q of %d: read something else", encoding, size)
				}
				got.Release()
			}
		}
	}
	if budget.Used() != 0 {
		t.Errorf("%d bytes of the budget are lost", budget.Used())
	}
}

func TestReadBodyRefuses(t *testing.T) {
	zeros := make([]byte, 64<<20)
	cut := gzipped(t, bytes.Repeat([]byte("x"), 1000))
	broken := errors.New("connection reset")
	many := bytes.Repeat(gzipped(t, nil), limit/20) // members that yield nothing
	window := zstded(t, zeros[:32<<20], zstd.WithWindowSize(16<<20), zstd.WithSingleSegment(false))
	budget := NewBudget(weight * 2 * limit)
	for name, c := range map[string]struct {
		r        io.Reader
		encoding string
		want     error
	}{
		"one byte more":         {bytes.NewReader(zeros[:limit+1]), "", ErrTooLarge},
		"gzip, one byte more":   {bytes.NewReader(gzipped(t, zeros[:limit+1])), "gzip", ErrTooLarge},
		"gzip bomb":             {bytes.NewReader(gzipped(t, zeros)), "gzip", ErrTooLarge},
		"gzip in gzip":          {bytes.NewReader(gzipped(t, gzipped(t, zeros))), "gzip", nil},
		"zstd bomb":             {bytes.NewReader(zstded(t, zeros)), "zstd", ErrTooLarge},
		"zstd of a huge window": {bytes.NewReader(window), "zstd", ErrTooLarge},
		"members without end":   {bytes.NewReader(many), "gzip", ErrTooLarge},
		"cut gzip":              {bytes.NewReader(cut[:len(cut)-5]), "gzip", ErrSyntax},
		"empty gzip":            {strings.NewReader(""), "gzip", ErrSyntax},
		"no gzip":               {strings.NewReader("{}"), "gzip", ErrSyntax},
		"gzip and more":         {io.MultiReader(bytes.NewReader(cut), strings.NewReader("more")), "gzip", ErrSyntax},
		"no zstd":               {strings.NewReader("{}"), "zstd", ErrSyntax},
		"unknown":               {strings.NewReader("{}"), "br", ErrUnsupported},
		"several":               {strings.NewReader("{}"), "gzip,gzip", ErrUnsupported},
		"broken":                {iotest.ErrReader(broken), "", broken},
		"broken gzip":           {io.MultiReader(bytes.NewReader(cut[:15]), iotest.ErrReader(broken)), "gzip", broken},
		"slow":                  {iotest.ErrReader(os.ErrDeadlineExceeded), "zstd", os.ErrDeadlineExceeded},
	} {
		b, err := ReadBody(c.r, c.encoding, limit, budget)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if b != nil {
			b.Release()
		}
		if errors.Is(err, ErrSyntax) && c.want != ErrSyntax {
			t.Errorf("%s is blamed on the sender's compression: %v", name, err)
		}
		if budget.Used() != 0 {
			t.Fatalf("%s: %d bytes of the budget are lost", name, budget.Used())
		}
	}
}

func TestBudget(t *testing.T) {
	budget := NewBudget(weight * 100_000)
	first, err := ReadBody(bytes.NewReader(make([]byte, 60_000)), "", limit, budget)
	if err != nil {
		t.Fatal(err)
	}
	_, err = ReadBody(bytes.NewReader(make([]byte, 60_000)), "", limit, budget)
	if !errors.Is(err, ErrBusy) || !errors.Is(err, visutility.ErrOverloaded) {
		t.Errorf("over budget: %v", err)
	}
	if err := budget.Admit(60_000); !errors.Is(err, ErrBusy) {
		t.Errorf("announced over budget: %v", err)
	}
	if taken := budget.Used(); budget.Admit(1000) != nil || budget.Admit(-1) != nil || budget.Used() != taken {
		t.Error("what there is room for, or is not announced, is to be read, and takes nothing yet")
	}
	first.Release()
	second, err := ReadBody(bytes.NewReader(make([]byte, 60_000)), "", limit, budget)
	if err != nil {
		t.Fatal(err)
	}
	second.Release()
	if budget.Used() != 0 {
		t.Errorf("%d bytes are lost", budget.Used())
	}
}

// FuzzReadBody looks for compressed bodies that break the limit, the budget or the program.
func FuzzReadBody(f *testing.F) {
	f.Add(gzipped(f, []byte("{}")), "gzip")
	f.Add(zstded(f, []byte("{}")), "zstd")
	f.Add(zstded(f, make([]byte, 1<<20)), "zstd")
	f.Add([]byte("{}"), "")
	f.Fuzz(func(t *testing.T, body []byte, encoding string) {
		const limit = 4096
		budget := NewBudget(1 << 20)
		b, err := ReadBody(bytes.NewReader(body), encoding, limit, budget)
		switch {
		case err == nil:
			if len(b.Bytes) > limit {
				t.Fatalf("%d bytes", len(b.Bytes))
			}
			b.Release()
		case !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrSyntax) && !errors.Is(err, ErrUnsupported):
			t.Fatal(err)
		}
		if budget.Used() != 0 {
			t.Fatal("bytes of the budget are lost")
		}
	})
}

func TestLookup(t *testing.T) {
	for _, known := range []string{"", "application/json", "Application/JSON; charset=utf-8", "application/x-ndjson", " application/json ;q=1"} {
		if d, err := Lookup(known); err != nil || d == nil {
			t.Errorf("%q: %v", known, err)
		}
	}
	for _, unknown := range []string{"text/csv", "application/json2", "json", "application/xml", "\x00"} {
		if _, err := Lookup(unknown); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%q: %v", unknown, err)
		}
	}
	seen := map[string]bool{}
	for _, f := range Formats {
		if seen[f.ContentType] || f.ContentType != strings.ToLower(f.ContentType) || f.Decode == nil {
			t.Errorf("%q is not a proper line of the table", f.ContentType)
		}
		seen[f.ContentType] = true
	}
}
