// Package history keeps what the metrics were, for charts: an observer of the log over a
// Prometheus time-series database in a directory.
//
// Events are rolled up to seconds of event time. A second of a series has a last value (of the
// event the log took last), a least, a greatest, and the sum of the events' counts. Each is a sample of one of four
// series of the database:
//
//	visutility_metric{model="churn", metric="auc", version="v3", label_country="DE", stat="last|min|max|count"}
//
// A label whose name is more than ASCII letters, digits and underscores becomes
// labelx_ and its name with every other character written as _hex_, so that no two names meet.
//
// # Rows
//
// The database refuses a second value at the same time, and events of one second may come
// long apart. So a second is not one row but as many as it takes, and whoever reads adds
// them up. A row is the events of one series and second within one cut of the log:
//
//   - A cut ends when the log's own clock (Entry.Stored) enters the next ten seconds,
//     and sooner if more than [maxRows] rows are open. Until then its rows are in memory, where [History.Select] finds them too.
//   - The milliseconds of a row's time are the number of its cut, modulo 1,000.
//
// Rows are therefore a function of the log and nothing else: read again, the same
// entries give the same rows at the same times with the same values, which the database
// takes as the duplicates they are. Everything else follows from that. A
// process that is killed reads again from the last cut on record; a directory that
// is lost is built again from the log; a log of the database that was damaged and cut short is filled
// by reading the last day again.
//
// # Limits
//
// A row older than the newest by more than [Options.OutOfOrder] is refused by the database;
// its events are counted as dropped, "too_old". Two rows of a second whose cuts
// have the same number (1,000 cuts apart, about three hours) share their time; the database keeps one.
// Which of two values is the last is told from the cut's number too, and may be wrong when
// events of a second come more than an hour apart.
//
// # Files
//
//	position.json    how far the rows of each partition are in the database; "marks" are where that
//	                 was at most a day ago, hour by hour. Replaced atomically, after the database's log is synced.
//	tsdb/            the database, in the format of Prometheus 3
//	lock             held while open
//	<dir>.corrupt-…  what could not be read and was moved aside
package history
