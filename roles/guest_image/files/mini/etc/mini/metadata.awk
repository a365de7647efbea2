# Reads meta_data.json and network_data.json (one argument each, the second may be missing) and writes lines "WORD VALUE" for boot and nic:
# instance, hostname, key, dns, and with a MAC before the value: mtu, address (with prefix length), route (network/prefix gateway).
# awk instead of jq: under emulation this takes 0.1 s, jq takes more than a second to start.
FNR == 1 { file++ }
{ text[file] = text[file] $0 "\n" }

function peek() {
  match(rest, /^[ \t\r\n,:]*/) # separators carry no meaning in what a JSON writer wrote
  rest = substr(rest, RLENGTH + 1)
  return substr(rest, 1, 1)
}
function quoted(    value) {
  if (!match(rest, /^"([^"\\]|\\.)*"/)) { rest = ""; return "" }
  value = substr(rest, 2, RLENGTH - 2)
  rest = substr(rest, RLENGTH + 1)
  gsub(/\\\\/, "\001", value)
  gsub(/\\"/, "\"", value)
  gsub(/\\\//, "/", value)
  gsub(/\\[rt]/, " ", value)
  gsub(/\\n/, "\n", value)
  gsub("\001", "\\", value)
  return value
}
# Every scalar of the document: value["path/to/it"]; an object's members in order: members[path], count[path].
function parse(path,    first, name, item) {
  first = peek()
  if (first == "{" || first == "[") {
    rest = substr(rest, 2)
    item = 0
    while (peek() != "}" && substr(rest, 1, 1) != "]" && rest != "") {
      name = first == "{" ? quoted() : item
      members[path, item++] = name
      parse(path "/" name)
    }
    count[path] = item
    rest = substr(rest, 2)
  } else if (first == "\"") {
    value[path] = quoted()
  } else {
    match(rest, /^[^][{},: \t\r\n]*/)
    value[path] = substr(rest, 1, RLENGTH)
    rest = substr(rest, RLENGTH + 1)
    if (RLENGTH == 0) rest = "" # no JSON: stop here
    if (value[path] == "null") delete value[path]
  }
}
function first_line(text) { sub(/\n.*/, "", text); return text }
function bits(netmask,    part, number, byte, total) {
  for (number = split(netmask, part, "."); number; number--)
    for (byte = part[number]; byte > 0; byte = int(byte / 2)) total += byte % 2
  return total + 0
}

END {
  rest = text[1]; parse("meta")
  rest = text[2]; if (rest != "") parse("net")

  gsub(/[^A-Za-z0-9-]/, "_", value["meta/uuid"]) # becomes a directory's name
  print "instance " value["meta/uuid"]
  print "hostname " first_line(value["meta/hostname"] != "" ? value["meta/hostname"] : value["meta/name"])
  for (i = 0; i < count["meta/public_keys"]; i++) {
    number = split(value["meta/public_keys/" members["meta/public_keys", i]], line, "\n")
    for (j = 1; j <= number; j++) if (line[j] != "") print "key " line[j]
  }
  for (i = 0; i < count["net/services"]; i++)
    if (value["net/services/" i "/type"] == "dns") print "dns " first_line(value["net/services/" i "/address"])
  for (i = 0; i < count["net/links"]; i++) {
    link = "net/links/" i
    mac[value[link "/id"]] = tolower(first_line(value[link "/ethernet_mac_address"]))
    if (value[link "/mtu"] > 0) print "mtu " mac[value[link "/id"]] " " value[link "/mtu"]
  }
  for (i = 0; i < count["net/networks"]; i++) {
    network = "net/networks/" i
    if (value[network "/type"] != "ipv4") continue # ipv4_dhcp and all others: DHCP and router advertisements
    nic = mac[value[network "/link"]]
    mask = value[network "/netmask"]
    print "address " nic " " first_line(value[network "/ip_address"]) (mask == "" ? "" : "/" bits(mask))
    for (j = 0; j < count[network "/routes"]; j++) {
      route = network "/routes/" j
      print "route " nic " " first_line(value[route "/network"]) "/" bits(value[route "/netmask"]) " " first_line(value[route "/gateway"])
    }
  }
}
