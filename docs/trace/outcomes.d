/* Never run: no system with DTrace was at hand.
   What became of the attempts, and how long answers took (us), by errno: 0 open, ECONNREFUSED refused, ETIMEDOUT silent.
   sudo dtrace -s docs/trace/outcomes.d -c './target/release/portreeve 127.0.0.1 -p- -q' */
portreeve$target:::probe_outcome { @outcomes[(int)arg4] = count(); }
portreeve$target:::probe_outcome /(int64_t)arg5 >= 0/ { @rtt_us[(int)arg4] = quantize(arg5); }
