import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Statement;

/** Asks a Dremio over JDBC what a BI tool asks, and prints one line for each answer. Arguments: the URL. */
public class Ask {
    public static void main(String[] arguments) throws SQLException {
        String user = System.getenv("DREMIO_USER");
        try (Connection connection = DriverManager.getConnection(arguments[0], user, System.getenv("DREMIO_PASSWORD"))) {
            DatabaseMetaData database = connection.getMetaData();
            System.out.println("product " + database.getDatabaseProductName());
            show("schema", database.getSchemas(null, "gold"), "TABLE_SCHEM");
            show("table", database.getTables(null, "gold", "jdbc%", null), "TABLE_NAME", "TABLE_TYPE");
            show("column", database.getColumns(null, "gold", "jdbc", "%"), "COLUMN_NAME", "TYPE_NAME");
            try (Statement statement = connection.createStatement()) {
                show("row", statement.executeQuery("SELECT id, name, amount, day FROM gold.jdbc ORDER BY id"));
            }
            try (PreparedStatement statement = connection.prepareStatement("SELECT COUNT(*) AS n FROM gold.jdbc")) {
                show("count", statement.executeQuery());
            }
            try (Statement statement = connection.createStatement()) {
                statement.execute("CREATE TABLE lake.datalake.jdbc.made AS SELECT 7 AS seven");
                show("made", statement.executeQuery("SELECT seven FROM lake.datalake.jdbc.made"));
                statement.executeQuery("SELECT * FROM gold.nothing");
            } catch (SQLException error) {
                System.out.println("refused " + error.getMessage().lines().findFirst().orElse(""));
            }
        }
        try (Connection connection = DriverManager.getConnection(arguments[0], user, "wrong")) {
            System.out.println("let in");
        } catch (SQLException error) {
            System.out.println("kept out " + error.getMessage().lines().findFirst().orElse(""));
        }
    }

    private static void show(String what, ResultSet rows, String... names) throws SQLException {
        try (rows) {
            ResultSetMetaData columns = rows.getMetaData();
            while (rows.next()) {
                StringBuilder line = new StringBuilder(what);
                for (int number = 1; names.length == 0 && number <= columns.getColumnCount(); number++) {
                    line.append(' ').append(rows.getString(number));
                }
                for (String name : names) {
                    line.append(' ').append(rows.getString(name));
                }
                System.out.println(line);
            }
        }
    }
}
