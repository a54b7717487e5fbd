package bikedemand

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"time"
)

// dataFile is where the real data is looked for, seen from this folder, when
// neither --data nor BIKE_DATA names a place.
const dataFile = "../../../shared/data/bike-sharing-hourly.csv.gz"

const (
	week = 7 * 24 * time.Hour
	// firstWeeks is how much the very first model learns from.
	firstWeeks = 8
)

// An Hour is one row of the stream: the circumstances of an hour and the bikes
// rented in it. Temperatures, humidity and wind are scaled to 0..1, as in the
// original data.
type Hour struct {
	Time                time.Time // its beginning, UTC
	Season              int       // 1 winter, 2 spring, 3 summer, 4 autumn
	Holiday, WorkingDay bool
	Weather             int // 1 clear … 4 heavy rain or snow
	Temp, FeelsLike     float64
	Humidity, Wind      float64
	Casual, Registered  int // bikes rented by guests, by members
}

// Rentals is what the model predicts: bikes rented in the hour.
func (h *Hour) Rentals() float64 { return float64(h.Casual + h.Registered) }

// A Stream is two years of hours, oldest first. Hours may be missing.
type Stream struct {
	Source string // where it came from, for people
	Digest string // tells two streams apart
	Hours  []Hour
}

// Start is the beginning of the first hour.
func (s *Stream) Start() time.Time { return s.Hours[0].Time }

// End is the end of the last hour.
func (s *Stream) End() time.Time { return s.Hours[len(s.Hours)-1].Time.Add(time.Hour) }

// Between returns the hours that begin in [from, to).
func (s *Stream) Between(from, to time.Time) []Hour {
	at := func(t time.Time) int {
		return sort.Search(len(s.Hours), func(i int) bool { return !s.Hours[i].Time.Before(t) })
	}
	i := at(from)
	return s.Hours[i:max(i, at(to))]
}

// Cut returns the stream up to the end of so many weeks after those of the first training; all of it for 0. It remains
// another stream than the whole: models of one are not for the other.
func (s *Stream) Cut(weeks int) *Stream {
	end := s.Start().Add(time.Duration(firstWeeks+weeks) * week)
	if weeks == 0 || !end.Before(s.End()) {
		return s
	}
	return newStream(s.Source, s.Between(s.Start(), end))
}

// openStream finds the data: the named file, else that of BIKE_DATA, else the
// real file where it is at hand, else a generated stream. A file that is named
// and missing is an error; "generated" asks for the generated one.
func openStream(named string, getenv func(string) string) (*Stream, error) {
	if named == "" {
		named = getenv("BIKE_DATA")
	}
	if named == "generated" {
		return Generate(generatedSeed), nil
	}
	if named != "" {
		return ReadFile(named)
	}
	for _, dir := range exampleDirs() {
		s, err := ReadFile(filepath.Join(dir, dataFile))
		if !errors.Is(err, fs.ErrNotExist) {
			return s, err
		}
	}
	return Generate(generatedSeed), nil
}

// exampleDirs are the folders that may be this example's: the server runs the
// training program in the folder of its policy; a person may run the replay
// from anywhere.
func exampleDirs() []string {
	dirs := []string{"."}
	if exe, err := os.Executable(); err == nil {
		dirs = append(dirs, filepath.Dir(exe))
	}
	return dirs
}

// ReadFile reads a stream from a CSV file with the columns of the original, plain or gzipped. What is wrong with it is
// named by line and column.
func ReadFile(name string) (*Stream, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open the data: %w", err)
	}
	defer f.Close()
	r := bufio.NewReader(f)
	var src io.Reader = r
	if magic, _ := r.Peek(2); string(magic) == "\x1f\x8b" {
		if src, err = gzip.NewReader(r); err != nil {
			return nil, fmt.Errorf("unpack %s: %w", name, err)
		}
	}
	hours, err := readHours(src)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	s := newStream(filepath.Base(name), hours)
	if len(hours) == 0 || s.End().Sub(s.Start()) < (firstWeeks+1)*week {
		return nil, fmt.Errorf("read %s: there are fewer than %d weeks of hours", name, firstWeeks+1)
	}
	return s, nil
}

func newStream(source string, hours []Hour) *Stream {
	h := fnv.New64a()
	for i := range hours {
		fmt.Fprintln(h, hours[i].Time.Unix(), hours[i].Casual, hours[i].Registered) // never fails
	}
	return &Stream{Source: source, Digest: fmt.Sprintf("%016x", h.Sum64()), Hours: hours}
}

// columns are those of the original hourly file, without its row number.
var columns = []string{
	"dteday", "hr", "season", "yr", "mnth", "holiday", "weekday", "workingday",
	"weathersit", "temp", "atemp", "hum", "windspeed", "casual", "registered", "cnt",
}

func readHours(src io.Reader) ([]Hour, error) {
	r := csv.NewReader(src)
	r.ReuseRecord = true
	head, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	place := make(map[string]int, len(head))
	for i, name := range head {
		place[name] = i
	}
	for _, name := range columns {
		if _, ok := place[name]; !ok {
			return nil, fmt.Errorf("column %q is missing", name)
		}
	}
	var hours []Hour
	for {
		rec, err := r.Read()
		if errors.Is(err, io.EOF) {
			return hours, nil
		}
		if err != nil {
			return nil, err // csv names the line
		}
		h, err := parseHour(rec, place)
		if err == nil && len(hours) > 0 && !h.Time.After(hours[len(hours)-1].Time) {
			err = errors.New("hours are not in order")
		}
		if err != nil {
			line, _ := r.FieldPos(0)
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		hours = append(hours, h)
	}
}

func parseHour(rec []string, place map[string]int) (Hour, error) {
	var errs []error
	num := func(column string) float64 {
		text := rec[place[column]]
		v, err := strconv.ParseFloat(text, 64)
		if err == nil && (math.IsNaN(v) || math.IsInf(v, 0)) {
			err = fmt.Errorf("%q is not a finite number", text)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", column, err))
		}
		return v
	}
	day, err := time.Parse(time.DateOnly, rec[place["dteday"]])
	if err != nil {
		errs = append(errs, fmt.Errorf("dteday: %w", err))
	}
	h := Hour{
		Time:       day.Add(time.Duration(num("hr")) * time.Hour),
		Season:     int(num("season")),
		Holiday:    num("holiday") == 1,
		WorkingDay: num("workingday") == 1,
		Weather:    int(num("weathersit")),
		Temp:       num("temp"),
		FeelsLike:  num("atemp"),
		Humidity:   num("hum"),
		Wind:       num("windspeed"),
		Casual:     int(num("casual")),
		Registered: int(num("registered")),
	}
	return h, errors.Join(errs...)
}

// writeHours writes the stream with the columns of the original.
func writeHours(dst io.Writer, hours []Hour) error {
	w := csv.NewWriter(dst)
	rec := append([]string(nil), columns...)
	bit := map[bool]string{false: "0", true: "1"}
	scaled := func(v float64) string { return strconv.FormatFloat(v, 'f', 4, 64) }
	for i := -1; i < len(hours); i++ {
		if i >= 0 {
			h := &hours[i]
			rec = append(rec[:0],
				h.Time.Format(time.DateOnly), strconv.Itoa(h.Time.Hour()), strconv.Itoa(h.Season),
				strconv.Itoa(h.Time.Year()-hours[0].Time.Year()), strconv.Itoa(int(h.Time.Month())), bit[h.Holiday],
				strconv.Itoa(int(h.Time.Weekday())), bit[h.WorkingDay], strconv.Itoa(h.Weather),
				scaled(h.Temp), scaled(h.FeelsLike), scaled(h.Humidity), scaled(h.Wind),
				strconv.Itoa(h.Casual), strconv.Itoa(h.Registered), strconv.Itoa(h.Casual+h.Registered))
		}
		if err := w.Write(rec); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}
