/* Never run: no system with DTrace was available.
   What became of the attempts, and how long answers took (us), by errno: 0 open, ECONNREFUSED refused, ETIMEDOUT silent.
   On macOS the times may all be 0 (docs/PROFILING.md).
   sudo dtrace -Z -s docs/trace/outcomes.d -c './target/release/portreeve 127.0.0.1 -p- -q' */
portreeve*:::probe_outcome { @outcomes[(int)arg4] = count(); }
portreeve*:::probe_outcome /(int64_t)arg5 >= 0/ { @rtt_us[(int)arg4] = quantize(arg5); }
