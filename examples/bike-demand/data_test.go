package bikedemand

import (
	"bytes"
	"compress/gzip"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestStreamIsFoundInOrder(t *testing.T) {
	var plain bytes.Buffer
	if err := writeHours(&plain, Generate(2).Hours); err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write(plain.Bytes())
	z.Close()
	dir := t.TempDir()
	flagged, named := filepath.Join(dir, "flagged.csv"), filepath.Join(dir, "named.csv.gz")
	os.WriteFile(flagged, plain.Bytes(), 0o600)
	os.WriteFile(named, packed.Bytes(), 0o600)

	for _, c := range []struct{ flag, env, source string }{
		{flagged, named, "flagged.csv"},
		{"", named, "named.csv.gz"},
		{"generated", named, "generated stream, seed 1"},
		{"", "generated", "generated stream, seed 1"},
	} {
		s, err := openStream(c.flag, env("BIKE_DATA", c.env))
		if err != nil {
			t.Fatal(err)
		}
		if s.Source != c.source {
			t.Errorf("--data %q, BIKE_DATA %q: got %q", c.flag, c.env, s.Source)
		}
	}
	if _, err := openStream(filepath.Join(dir, "nowhere"), env()); err == nil {
		t.Error("a named file that does not exist was passed over")
	}
	t.Chdir(dir) // far from any real data
	s, err := openStream("", env())
	if err != nil || s.Source != "generated stream, seed 1" {
		t.Errorf("without data: %v, %v", s, err)
	}
}

func TestHoursSurviveTheFile(t *testing.T) {
	want := Generate(generatedSeed)
	var b bytes.Buffer
	if err := writeHours(&b, want.Hours); err != nil {
		t.Fatal(err)
	}
	hours, err := readHours(&b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Hours, hours, cmpopts.EquateApprox(0, 5e-5)); diff != "" {
		t.Error(diff)
	}
	if got := newStream("", hours).Digest; got != want.Digest {
		t.Errorf("digest %s, want %s", got, want.Digest)
	}
}

func TestBadFilesAreRefusedByLineAndColumn(t *testing.T) {
	head := strings.Join(columns, ",") + "\n"
	good := "2011-01-01,0,1,0,1,0,6,0,1,0.24,0.2879,0.81,0.0,3,13,16\n"
	for want, file := range map[string]string{
		"header":                         "",
		`column "cnt" is missing`:        strings.Replace(head, ",cnt", "", 1),
		"line 3: hours are not in order": head + good + good,
		"line 2: temp":                   head + strings.Replace(good, "0.24", "warm", 1),
		`hum: "NaN" is not a finite`:     head + strings.Replace(good, "0.81", "NaN", 1),
		"line 2: dteday":                 head + strings.Replace(good, "2011-01-01", "yesterday", 1),
		"line 2: wrong number of fields": head + "2011-01-01,0\n",
	} {
		_, err := readHours(strings.NewReader(file))
		if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), "record on ", ""), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	short := filepath.Join(t.TempDir(), "short.csv")
	os.WriteFile(short, []byte(head+good), 0o600)
	if _, err := ReadFile(short); err == nil || !strings.Contains(err.Error(), "fewer than 9 weeks") {
		t.Errorf("error %v", err)
	}
}

func TestBetweenTakesTheBeginningAndNotTheEnd(t *testing.T) {
	s := Generate(generatedSeed)
	from := s.Start().Add(week)
	hours := s.Between(from, from.Add(week))
	if len(hours) != 168 || !hours[0].Time.Equal(from) {
		t.Errorf("%d hours from %v", len(hours), hours[0].Time)
	}
	if n := len(s.Between(from, from.Add(-week))); n != 0 {
		t.Errorf("%d hours in a window that ends before it begins", n)
	}
	if n := len(s.Between(s.End(), s.End().Add(week))); n != 0 {
		t.Errorf("%d hours after the end", n)
	}
}

// The generated stream has the drift that it says it has.
func TestGeneratedStream(t *testing.T) {
	s := Generate(generatedSeed)
	if s.Digest != Generate(generatedSeed).Digest || s.Digest == Generate(2).Digest {
		t.Error("the seed does not decide the stream")
	}
	demandAt := func(t time.Time) float64 { // of noon, with the weather set aside
		return demand(&Hour{Time: t.Add(12 * time.Hour), Weather: 1, Temp: 0.5, Wind: 0.2})
	}
	grown := demandAt(growthTo) / demandAt(growthFrom.Add(-24*time.Hour))
	if math.Abs(grown-growthFactor) > 1e-9 {
		t.Errorf("demand grows by %v, want %v", grown, growthFactor)
	}
	fallen := demandAt(shiftAt) / demandAt(shiftAt.Add(-24*time.Hour))
	if math.Abs(fallen-shiftFactor) > 1e-9 {
		t.Errorf("demand falls to %v, want %v", fallen, shiftFactor)
	}
	for i := range s.Hours {
		h := &s.Hours[i]
		if h.Temp < 0 || h.Temp > 1 || h.Humidity > 1 || h.Wind < 0 || h.Weather < 1 || h.Weather > 4 || h.Rentals() < 0 {
			t.Fatalf("hour out of range: %+v", h)
		}
	}
}
